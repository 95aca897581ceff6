package postgres

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sqlText finds what begins like SQL; texts of errors do not.
var sqlText = regexp.MustCompile("(?i)^[\"`]\\s*(select|insert into|update|delete from|create|alter|drop|truncate|with|set|begin|copy|call)\\s")

// No text that PostgreSQL runs is built from data: statements are embedded files; in the code there is no SQL, and
// what is sent is a field of statements. All that is put into a text are names from the configuration, each of them
// checked, in two places.
func TestStatementsAreNeverBuiltFromData(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	replaced := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if n.Kind == token.STRING && sqlText.MatchString(n.Value) {
					t.Errorf("%s: SQL in Go: %s", fset.Position(n.Pos()), n.Value)
				}
			case *ast.CompositeLit:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "call" {
					checkCall(t, fset, n)
				}
			case *ast.CallExpr:
				fn, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					break
				}
				switch fn.Sel.Name {
				case "ReplaceAll", "NewReplacer":
					if name != "statements.go" {
						t.Errorf("%s: something is put into a text", fset.Position(n.Pos()))
					}
					replaced++
				case "Query", "QueryRow", "SendBatch", "Queue", "Prepare", "CopyFrom", "ExecPrepared", "EscapeString":
					t.Errorf("%s: %s: there is one way to the server, run", fset.Position(n.Pos()), fn.Sel.Name)
				case "Exec":
					if !isStatement(n.Args[1]) {
						t.Errorf("%s: Exec of something else than a statement", fset.Position(n.Pos()))
					}
				case "ExecParams":
					if sel, ok := n.Args[0].(*ast.SelectorExpr); !ok || sel.Sel.Name != "sql" {
						t.Errorf("%s: ExecParams of something else than a call's statement", fset.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
	if replaced != 2 {
		t.Errorf("%d places put something into a text, want two", replaced)
	}
	checkFiles(t)
}

// checkCall wants a statement, or the parameter of a function that is only given statements.
func checkCall(t *testing.T, fset *token.FileSet, n *ast.CompositeLit) {
	t.Helper()
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			t.Errorf("%s: a call without names of fields", fset.Position(n.Pos()))
			continue
		}
		if id, ok := kv.Key.(*ast.Ident); !ok || id.Name != "sql" {
			continue
		}
		if id, ok := kv.Value.(*ast.Ident); ok && id.Name == "sql" { // lease.call
			continue
		}
		if !isStatement(kv.Value) {
			t.Errorf("%s: the text of a call is something else than a statement", fset.Position(n.Pos()))
		}
	}
}

// isStatement reports whether e is x.sql.name.
func isStatement(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := sel.X.(*ast.SelectorExpr)
	return ok && of.Sel.Name == "sql"
}

// checkFiles wants no statement to run text, and each file to be used.
func checkFiles(t *testing.T) {
	t.Helper()
	used, err := os.ReadFile("statements.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := files.ReadDir("sql")
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	dynamic := regexp.MustCompile(`(?i)\bexecute\b|\bdo \$|format\(|\|\||query_to_xml`)
	for _, e := range entries {
		text, err := files.ReadFile("sql/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := dynamic.Find(text); found != nil {
			t.Errorf("%s has %q: what a statement does must not depend on data", e.Name(), found)
		}
		if !strings.Contains(string(used), `"`+strings.TrimSuffix(e.Name(), ".sql")+`"`) {
			t.Errorf("%s is not used", e.Name())
		}
	}
}

func TestOnlyPlainNamesAreSchemas(t *testing.T) {
	for _, name := range []string{"Pondage", "a b", "a;b", `a"b`, "", "1a", "a.b", "a-b", "é", strings.Repeat("a", 41), "a\n"} {
		c := Config{DSN: "postgres://localhost/x", Schema: name}
		if name == "" {
			if c.withDefaults().validate() != nil {
				t.Error("the default is refused")
			}
			continue
		}
		if err := c.withDefaults().validate(); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
