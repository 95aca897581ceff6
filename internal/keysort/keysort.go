// Package keysort orders many strings that begin alike, several times faster than comparing them
// whole: a few bytes at a time, as numbers, behind what they have in common.
package keysort

import (
	"cmp"
	"slices"
)

// Ranked is one of the strings that were ordered.
type Ranked struct {
	At   int // its index
	head uint64
}

// Order returns the indices 0 to n-1 in byte order of their keys, in the memory of ranks, which may be
// nil. Equal keys come in any order.
func Order(ranks []Ranked, n int, key func(i int) string) []Ranked {
	ranks = slices.Grow(ranks[:0], 2*n)
	spare := ranks[n : 2*n]
	for i := range n {
		ranks = append(ranks, Ranked{At: i})
	}
	if n > 1 {
		order(ranks, spare, key, 0)
	}
	return ranks
}

// order orders ranks, whose keys have their first same bytes in common. spare is memory.
func order(ranks, spare []Ranked, key func(int) string, same int) {
	common := key(ranks[0].At)
	for i := range ranks { // nearly always the comparison of what is known says that nothing changes
		if k := key(ranks[i].At); len(k) < len(common) || k[same:len(common)] != common[same:] {
			common = common[:same+samePrefix(common[same:], k[same:])]
		}
	}
	same = len(common)
	for i := range ranks {
		ranks[i].head = head(key(ranks[i].At)[same:])
	}
	if len(ranks) >= radixFrom {
		radix(ranks, spare[:len(ranks)])
	} else {
		slices.SortFunc(ranks, func(a, b Ranked) int { return cmp.Compare(a.head, b.head) })
	}
	for len(ranks) > 0 {
		n := 1
		for n < len(ranks) && ranks[n].head == ranks[0].head {
			n++
		}
		if n > 1 && goesOn(ranks[0].head) {
			order(ranks[:n], spare, key, same)
		}
		ranks = ranks[n:]
	}
}

// headBytes is how many bytes of a key are in its head.
const headBytes = 7

// head returns the first bytes of s as a number that compares like them. Its last byte is the length of
// s, up to one more than fits, so that what ends comes before what goes on with zeros.
func head(s string) uint64 {
	if len(s) > headBytes {
		return uint64(s[6])<<8 | uint64(s[5])<<16 | uint64(s[4])<<24 | uint64(s[3])<<32 |
			uint64(s[2])<<40 | uint64(s[1])<<48 | uint64(s[0])<<56 | (headBytes + 1)
	}
	h := uint64(len(s))
	for i := range len(s) {
		h |= uint64(s[i]) << (56 - 8*i)
	}
	return h
}

// goesOn reports whether strings with this head are longer than it, and may differ.
func goesOn(head uint64) bool { return head&0xff > headBytes }

// samePrefix returns how many bytes a and b have in common at their beginning.
func samePrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
