package redis

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No text that Redis runs is built from data: scripts are embedded files, called in one place
// with everything else as arguments, and in the files nothing is concatenated.
func TestScriptsAreNeverBuiltFromData(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	newScripts := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && fn.Name == "newScript" {
					newScripts++
					if arg, ok := n.Args[0].(*ast.Ident); !ok || !strings.HasSuffix(arg.Name, "Lua") {
						t.Errorf("%s: a script is made of something else than an embedded file", fset.Position(n.Pos()))
					}
				}
				if fn, ok := n.Fun.(*ast.SelectorExpr); ok {
					switch fn.Sel.Name {
					case "Eval", "EvalSha", "EvalRO", "EvalShaRO", "ScriptLoad", "NewScript", "FCall", "FunctionLoad":
						if name != "script.go" {
							t.Errorf("%s: %s outside script.go", fset.Position(n.Pos()), fn.Sel.Name)
						}
					}
				}
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if id, ok := left.(*ast.Ident); ok && strings.HasSuffix(id.Name, "Lua") {
						t.Errorf("%s: %s is assigned", fset.Position(n.Pos()), id.Name)
					}
				}
			case *ast.BasicLit:
				text := strings.ToLower(strings.Trim(n.Value, "\"`"))
				if strings.Contains(text, "redis.call") || name != "script.go" && (text == "eval" || text == "evalsha") {
					t.Errorf("%s: Lua, or what runs it, in Go: %s", fset.Position(n.Pos()), n.Value)
				}
			}
			return true
		})
	}
	lua, err := filepath.Glob("lua/*.lua")
	if err != nil || len(lua) != newScripts {
		t.Errorf("%d scripts of %d files, %v", newScripts, len(lua), err)
	}
	for _, name := range lua {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"loadstring", "load(", "dofile", "..", "string.format"} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s has %s: what a script runs and where must not depend on data", name, bad)
			}
		}
	}
}
