package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")

// Each test that docs/testing.md names is there.
func TestNamedTestsExist(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		sources.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := sources.String()
	names := testName.FindAllStringSubmatch(read(t, filepath.Join("docs", "testing.md")), -1)
	for _, m := range names {
		if !strings.Contains(all, "func "+m[1]+"(") {
			t.Errorf("docs/testing.md names %s, which is no test", m[1])
		}
	}
	if len(names) < 30 {
		t.Errorf("docs/testing.md names %d tests only", len(names))
	}
}

var (
	vectorRow  = regexp.MustCompile(`(?m)^\| (\d+) \|`)
	vectorName = regexp.MustCompile(`"vectors? (\d+)(?: and (\d+))?:|func TestVector(\d+)\(`)
)

// Each vector of docs/testing.md is a test that is named by it, and no test is named by another.
func TestEveryVectorIsATest(t *testing.T) {
	rows, tests := map[string]bool{}, map[string]bool{}
	for _, m := range vectorRow.FindAllStringSubmatch(read(t, filepath.Join("docs", "testing.md")), -1) {
		rows[m[1]] = true
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range vectorName.FindAllStringSubmatch(string(b), -1) {
			for _, number := range m[1:] {
				if tests[number] = true; number != "" && !rows[number] {
					t.Errorf("%s has a test of vector %s, which docs/testing.md does not list", path, number)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for number := range rows {
		if !tests[number] {
			t.Errorf("vector %s of docs/testing.md is no test", number)
		}
	}
	if len(rows) < 23 {
		t.Errorf("docs/testing.md lists %d vectors only", len(rows))
	}
}

// A test that sleeps does so on the clock of testing/synctest.
func TestNoTestSleepsOnTheRealClock(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "testing_test.go" {
			return err
		}
		b, err := os.ReadFile(path)
		if src := string(b); strings.Contains(src, "time.Sleep(") && !strings.Contains(src, `"testing/synctest"`) {
			t.Errorf("%s calls time.Sleep without testing/synctest: wait on a channel", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
