package model_test

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// agree is the property: the engine gives what the model gives.
func agree(t *rapid.T) {
	s := scripts().Draw(t, "script")
	got, want := play(t, s)
	if !slices.Equal(got, want) {
		t.Fatalf("the engine and the model differ: %s\nscript\n%v\nengine\n  %s\nmodel\n  %s",
			difference(got, want), s, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func difference(got, want []string) string {
	at := func(lines []string, i int) string {
		if i < len(lines) {
			return lines[i]
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

// TestEngineIsTheModel plays random scripts on the engine and on the model. 10,000 are played;
// PONDAGE_MODEL_SCRIPTS=100000 plays more.
func TestEngineIsTheModel(t *testing.T) {
	checks := cmp.Or(os.Getenv("PONDAGE_MODEL_SCRIPTS"), "10000")
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
	played := 0
	rapid.Check(t, func(t *rapid.T) {
		agree(t)
		played++
	})
	if want, _ := strconv.Atoi(checks); played < want {
		t.Errorf("only %d of %d scripts were played in the time there was", played, want)
	}
}
