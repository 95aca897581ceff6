package handlers

import (
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Pace implements [stateful.Paced]: it is FlushAfter. The other fields are for several inputs.
func (w Window[E, A]) Pace() stateful.Pace { return stateful.Pace{FlushAfter: w.FlushAfter} }

// FlushTo implements [stateful.Flusher]. Windows that last for ever wait for no watermark.
func (w *windowTask[E, A]) FlushTo() int64 {
	if len(w.open) == 0 || w.cut.everlasting {
		return window.Never
	}
	return w.open[len(w.open)-1].gone
}
