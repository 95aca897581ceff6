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
