package archtest

import (
	"bytes"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// maxLines is how long a file may be, tests and generated files aside.
const maxLines = 450

// plain are methods whose names say it all.
var plain = map[string]bool{"Error": true, "String": true, "Unwrap": true}

func TestFilesFitInAHead(t *testing.T) {
	for _, p := range packages(t) {
		_, files := parse(t, p)
		for name, f := range files {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(src, []byte("\n")); n > maxLines && !ast.IsGenerated(f) {
				t.Errorf("%s/%s has %d lines, more than %d: find the seam to split it along", p.path(), name, n, maxLines)
			}
		}
	}
}

func TestExportedIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		fset, files := parse(t, p)
		documented := false
		for _, f := range files {
			documented = documented || f.Doc != nil
			if ast.IsGenerated(f) {
				continue
			}
			for _, decl := range f.Decls {
				for _, id := range undocumented(decl) {
					t.Errorf("%s: %s has no doc comment", place(fset, id), id.Name)
				}
			}
		}
		if !documented && len(files) > 0 {
			t.Errorf("package %s has no doc comment", p.path())
		}
	}
}

// place names a file from the module's root.
func place(fset *token.FileSet, id *ast.Ident) string {
	at := fset.Position(id.Pos())
	abs, err := filepath.Abs(root)
	if err != nil {
		return at.String()
	}
	if rel, err := filepath.Rel(abs, at.Filename); err == nil {
		at.Filename = rel
	}
	return at.String()
}

// undocumented returns the exported names of decl without a comment. One comment
// above a group of constants or variables is enough for all.
func undocumented(decl ast.Decl) (ids []*ast.Ident) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		hidden := d.Recv != nil && (!receiverIsExported(d.Recv.List[0].Type) || plain[d.Name.Name])
		if d.Doc == nil && d.Name.IsExported() && !hidden {
			ids = append(ids, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if d.Doc == nil && s.Doc == nil && s.Name.IsExported() {
					ids = append(ids, s.Name)
				}
			case *ast.ValueSpec:
				if d.Doc != nil || s.Doc != nil || s.Comment != nil {
					continue
				}
				for _, id := range s.Names {
					if id.IsExported() {
						ids = append(ids, id)
					}
				}
			}
		}
	}
	return ids
}

func receiverIsExported(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiverIsExported(x.X)
	case *ast.IndexExpr:
		return receiverIsExported(x.X)
	case *ast.IndexListExpr:
		return receiverIsExported(x.X)
	case *ast.Ident:
		return x.IsExported()
	}
	return false
}
