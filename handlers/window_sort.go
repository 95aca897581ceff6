package handlers

import (
	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/stateful"
)

// sort brings the cells in order of their keys.
func (p *pane[A]) sort() {
	if p.sorted {
		return
	}
	p.sorted = true
	if len(p.cells) < 2 {
		return
	}
	cells := make([]*stateful.Cell[A], len(p.cells))
	for i, r := range keysort.Order(nil, len(cells), func(i int) string { return p.cells[i].Key() }) {
		cells[i] = p.cells[r.At]
	}
	p.cells = cells
}
