package handlers

import (
	"cmp"
	"slices"
	"strings"
	"testing"
)

// The short form of a comparison never contradicts the long one.
func FuzzHeadsCompareLikeStrings(f *testing.F) {
	f.Add("user-1", "user-12", "user-\x00")
	f.Add("", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		same := a
		for _, s := range []string{b, c} {
			same = same[:commonPrefix(same, s)]
		}
		compare := func(x, y string) int {
			return cmp.Or(cmp.Compare(headOf(x[len(same):]), headOf(y[len(same):])), strings.Compare(x, y))
		}
		got, want := []string{a, b, c}, []string{a, b, c}
		slices.SortFunc(got, compare)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("sorted %q, want %q", got, want)
		}
	})
}
