package handlers

import (
	"slices"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Pace implements [stateful.Paced]: it is FlushAfter. The other fields are for several inputs.
func (w Window[E, A]) Pace() stateful.Pace { return stateful.Pace{FlushAfter: w.FlushAfter} }

// Pace implements [stateful.Paced]: it is FlushAfter. The other fields are for several inputs.
func (k Keyed[E, S]) Pace() stateful.Pace { return stateful.Pace{FlushAfter: k.FlushAfter} }

// FlushTo implements [stateful.Flusher]. Windows that last for ever wait for no watermark.
func (w *windowTask[E, A]) FlushTo() int64 {
	for i := len(w.open) - 1; i >= 0 && !w.cut.everlasting; i-- {
		if w.open[i].holds() {
			return w.open[i].gone
		}
	}
	return window.Never
}

// holds reports whether the pane has an event: a record that failed may have opened it.
func (p *pane[A]) holds() bool {
	return p.cold || slices.ContainsFunc(p.cells, func(c *stateful.Cell[A]) bool {
		_, has := c.Value()
		return has
	})
}
