package model_test

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/internal/model"
)

// agree is the property: the engine gives what the model gives.
func agree(t *rapid.T) { scripts().Draw(t, "script").agree(t) }

// slicesAgree is the same for windows that are merged from slices.
func slicesAgree(t *rapid.T) {
	s := scriptsOf(slicedSpecs()).Draw(t, "script")
	s.merge = true
	s.agree(t)
}

func (s script) agree(t *rapid.T) {
	got, want := play(t, s)
	if !slices.Equal(got, want) {
		t.Fatalf("the engine and the model differ: %s\nscript\n%v\nengine\n%s\nmodel\n%s", difference(got, want), s, lined(got), lined(want))
	}
}

func difference(got, want []model.Output) string {
	at := func(out []model.Output, i int) string {
		if i < len(out) {
			return out[i].String()
		}
		return "nothing"
	}
	for i := range max(len(got), len(want)) {
		if at(got, i) != at(want, i) {
			return at(got, i) + ", want " + at(want, i)
		}
	}
	return "nowhere"
}

func lined(out []model.Output) string {
	var b strings.Builder
	for _, o := range out {
		b.WriteString("  " + o.String() + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// check checks a property n times. Rapid checks fewer when time runs out; then the test fails.
func check(t *testing.T, n int, property func(*rapid.T)) {
	t.Helper()
	if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	done := 0
	rapid.Check(t, func(t *rapid.T) {
		property(t)
		done++
	})
	if done < n {
		t.Errorf("only %d of %d scripts were played in the time there was", done, n)
	}
}

// TestEngineIsTheModel plays random scripts on the engine and on the model. 10,000 are played;
// PONDAGE_MODEL_SCRIPTS=100000 plays more.
func TestEngineIsTheModel(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("PONDAGE_MODEL_SCRIPTS"), "10000"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, n, agree)
}

func TestSlicesAreTheModel(t *testing.T) { check(t, 1000, slicesAgree) }

// FuzzKinds does the same with scripts that the fuzzer makes, FuzzSlices with those of slices.
func FuzzKinds(f *testing.F)  { fuzz(f, agree) }
func FuzzSlices(f *testing.F) { fuzz(f, slicesAgree) }

func fuzz(f *testing.F, property func(*rapid.T)) {
	for seed := range uint64(40) {
		r := rand.NewChaCha8([32]byte{byte(seed)})
		b := make([]byte, 4096)
		if _, err := r.Read(b); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(rapid.MakeFuzz(property))
}
