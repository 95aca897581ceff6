# Needs Go, make and git; modules come through the module proxy, and the servers that tests start, where they
# are missing, from Debian's or Ubuntu's packages. The tools' versions are in tools/go.mod.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

TOOL     := go tool -modfile=tools/go.mod
FUZZTIME ?= 30s

.PHONY: test servers format vet lint bench-once demo unit bench fuzz tools

# What must hold before a change lands. The linter is built while other checks
# run; the unit tests come last and alone, so that the last lines are theirs and their
# timing is not disturbed.
test: servers
	$(MAKE) --no-print-directory -j2 -O format lint vet bench-once
	$(MAKE) --no-print-directory demo
	$(MAKE) --no-print-directory unit

# The programs of the servers that tests start. What is installed already stays as it is.
servers:
	internal/testserver/install.sh

format:
	@bad=$$($(TOOL) gofumpt -l .); \
	if [ -n "$$bad" ]; then echo "not formatted, run 'go tool -modfile=tools/go.mod gofumpt -w .':"; echo "$$bad"; exit 1; fi

vet:
	go vet ./...

# The first run downloads and builds golangci-lint, some minutes on two cores; Go's
# caches keep it.
lint:
	$(TOOL) golangci-lint run

# Each benchmark runs once, so that it keeps compiling and working.
bench-once:
	go test -run '^$$' -bench . -benchtime 1x ./...

# The sample application on the built-in week. It exits 0 only if every row that was
# read is accounted for.
demo:
	go build -o bin/pondage ./cmd/pondage
	bin/pondage demo --output json > bin/demo.jsonl
	@grep -q '^{"origin":"ORD","start":"2001-01-02T15:00:00Z",' bin/demo.jsonl || \
		{ echo "the demo's results lack a busy hour of ORD"; exit 1; }

unit:
	$(TOOL) gotestsum --format pkgname-and-test-fails -- -race -timeout 7m ./...

# Numbers are worth something beside each other only: one run, one machine.
bench:
	go run ./bench

# Every fuzz target for FUZZTIME.
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(go test -list '^Fuzz' "$$dir" | grep '^Fuzz'); do \
			echo "== $$dir $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir"; \
		done; \
	done

# Builds the tools into bin/, for editors and for a quick first lint.
tools:
	GOBIN="$(CURDIR)/bin" go install -C tools tool
