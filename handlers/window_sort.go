package handlers

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful"
)

// sort brings the cells in order of their keys. All keys of a pane begin alike,
// those of one kind of key often further than the pane's prefix, so that the
// eight bytes behind decide most comparisons.
func (p *pane[A]) sort() {
	if p.sorted {
		return
	}
	p.sorted = true
	if len(p.cells) < 2 {
		return
	}
	same := p.cells[0].Key()
	for _, c := range p.cells {
		same = same[:commonPrefix(same, c.Key())]
	}
	type entry struct {
		head uint64 // the bytes behind what all have in common
		cell *stateful.Cell[A]
	}
	entries := make([]entry, len(p.cells))
	for i, c := range p.cells {
		entries[i] = entry{headOf(c.Key()[len(same):]), c}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return strings.Compare(a.cell.Key(), b.cell.Key())
	})
	for i := range entries {
		p.cells[i] = entries[i].cell
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// headOf returns the first eight bytes of s as a number that compares like them,
// with zeros behind a shorter s.
func headOf(s string) uint64 {
	var h uint64
	for i := range min(len(s), 8) {
		h |= uint64(s[i]) << (56 - 8*i)
	}
	return h
}
