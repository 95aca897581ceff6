package archtest

import (
	"slices"
	"testing"
)

// Which package may import which of ours, tests aside. A package not listed
// fails the test; anything means that it is a top of the tree, which nobody imports.
var mayImport = map[string][]string{
	".":                     {},
	"stateful":              {"stateful/window"},
	"stateful/window":       {},
	"stateful/memory":       {"internal/kvs", "internal/lease", "stateful"},
	"stateful/pebble":       {"internal/keysort", "internal/kvs", "internal/lease", "internal/pebbledb", "stateful"},
	"stateful/postgres":     {"internal/keysort", "internal/kvs", "internal/remote", "outbox", "stateful"},
	"stateful/redis":        {"internal/keysort", "internal/kvs", "internal/remote", "stateful"},
	"stateful/statefultest": {"stateful"},
	"handlers":              {"internal/keysort", "stateful", "stateful/window"},
	"handlers/handlerstest": {"handlers", "outbox", "stateful", "stateful/memory", "stateful/window"},
	"middleware":            {"internal/clock", "stateful"},
	"outbox":                {"internal/clock", "stateful"},
	"outbox/outboxtest":     {"outbox", "stateful"},
	"pubsub/embedded":       {"internal/clock", "internal/pebbledb", "outbox", "stateful"},
	"internal/archtest":     {},
	"internal/clock":        {},
	"internal/keysort":      {},
	"internal/kvs":          {"stateful"},
	"internal/lease":        {"stateful"},
	"internal/model":        {},
	"internal/pebbledb":     {},
	"internal/remote":       {"internal/clock", "stateful"},
	"internal/remotetest":   {"internal/clock", "internal/remote", "internal/testserver", "stateful"},
	"cmd/pondage":           {anything},
	"cmd/pondage/internal/demo": {
		"cmd/pondage/internal/flights", "handlers", "middleware", "outbox", "pubsub/embedded",
		"stateful", "stateful/memory", "stateful/pebble", "stateful/window",
	},
	"cmd/pondage/internal/flights": {},
	"internal/testserver":          {"internal/clock"},
	"internal/verify":              {},
	"internal/verify/worker":       {anything},

	"bench": {anything},
}

const anything = "*"

// Which packages may link "testing". None of them may end in a user's binary,
// so nothing but a test imports them.
var linksTesting = []string{"stateful/statefultest", "outbox/outboxtest", "internal/remotetest"}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		t.Run(p.path(), func(t *testing.T) {
			allowed, ok := mayImport[p.path()]
			if !ok {
				t.Fatalf("%s is not in the table mayImport: say there what it may import", p.path())
			}
			for _, to := range p.Imports {
				if !ours(to) {
					continue
				}
				to := relative(to)
				if slices.Contains(mayImport[to], anything) {
					t.Errorf("imports %s, which is a top of the tree", to)
				}
				if !slices.Contains(allowed, to) && !slices.Contains(allowed, anything) {
					t.Errorf("imports %s, and may import only %q", to, allowed)
				}
			}
		})
	}
}

func TestTestingIsNotLinkedIntoUsersBinaries(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(linksTesting, p.path()) {
			continue
		}
		if slices.Contains(p.Deps, "testing") {
			t.Errorf("%s links the package testing: only a test may import it or one of %q", p.path(), linksTesting)
		}
	}
}
