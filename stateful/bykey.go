package stateful

import (
	"slices"
	"strings"
)

// byKey finds elements of a slice by their keys. The slice grows, and is cut, at its end only. What is new is
// sorted in when somebody asks: who never does pays nothing, and who asks after each change does not
// pay for all of them.
type byKey struct {
	places []int32 // of the elements, in order of their keys
	looked int     // at so many keys; a test holds it small
}

// between returns, in order, the places of those of the first n elements whose keys are in [from, to), an empty to
// meaning the end. It is valid until the next call.
func (o *byKey) between(n int, key func(int32) string, from, to string) []int32 {
	find := func(k string) int {
		at, _ := slices.BinarySearchFunc(o.places, k, func(i int32, k string) int {
			o.looked++
			return strings.Compare(key(i), k)
		})
		return at
	}
	if fresh := n - len(o.places); fresh > 8+len(o.places)/8 {
		for i := len(o.places); i < n; i++ {
			o.places = append(o.places, int32(i))
		}
		slices.SortFunc(o.places, func(i, j int32) int {
			o.looked++
			return strings.Compare(key(i), key(j))
		})
	}
	for i := len(o.places); i < n; i++ {
		o.places = slices.Insert(o.places, find(key(int32(i))), int32(i))
	}
	lo, hi := find(from), len(o.places)
	if to != "" {
		hi = max(lo, find(to))
	}
	return o.places[lo:hi]
}

// cut forgets all but the first n elements.
func (o *byKey) cut(n int) {
	if n < len(o.places) {
		o.places = slices.DeleteFunc(o.places, func(i int32) bool { return int(i) >= n })
	}
}
