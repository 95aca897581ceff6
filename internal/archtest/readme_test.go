package archtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Code in prose rots: each Go block of the README is part of example_test.go, which
// compiles and runs.
func TestREADMECodeIsTested(t *testing.T) {
	readme := read(t, "README.md")
	examples := unindented(read(t, "example_test.go"))
	blocks := 0
	for rest := readme; ; blocks++ {
		_, code, ok := strings.Cut(rest, "```go\n")
		if !ok {
			break
		}
		code, rest, ok = strings.Cut(code, "```")
		if !ok {
			t.Fatal("a block of code in README.md does not end")
		}
		if !strings.Contains(examples, unindented(code)) {
			t.Errorf("this code of README.md is not in example_test.go:\n%s", code)
		}
	}
	if blocks == 0 {
		t.Error("README.md has no Go code")
	}
}

// Links of the pages to files of the repository lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "](")[1:] {
			to, _, ok := strings.Cut(part, ")")
			if !ok || strings.Contains(to, "://") || strings.ContainsAny(to, " \",") { // elsewhere, or code
				continue
			}
			to, _, _ = strings.Cut(to, "#")
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), to)); err != nil {
				t.Errorf("%s links to %s: %v", filepath.Base(page), to, err)
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unindented drops each line's leading space.
func unindented(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], "\t ")
	}
	return strings.Join(lines, "\n")
}
