package archtest

import (
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

func TestUndocumentedFindsWhatHasNoComment(t *testing.T) {
	const src = `package p
func A() {}
type B struct{}
func (B) C() {}
func (*B) D() {}
func (b *B) String() string { return "" }
type g[T any] struct{}
func (g[T]) Hidden() {}
type G[T any] struct{}
func (G[T]) E() {}
const F = 1
// Both have this.
var (
	H = 1
	I = 2
)
// J has one.
func J() {}
func k() {}
const (
	L = 1 // has one
	M = 2
)
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, decl := range f.Decls {
		for _, id := range undocumented(decl) {
			got = append(got, id.Name)
		}
	}
	if want := []string{"A", "B", "C", "D", "G", "E", "F", "M"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
