package handlers

import (
	"fmt"
	"iter"

	"github.com/pondage/pondage/stateful/window"
)

// cut says in which windows an event is where its time alone tells: tumbling and sliding ones, and
// the one that lasts for ever, which is that of [window.Global] and [window.Count].
type cut struct {
	windows     window.Windows
	sliding     window.SlidingWindows // tumbling ones slide by their size
	everlasting bool
}

var allTime = window.Global().Of(0)

func cutOf(w window.Windows) (cut, error) {
	switch kind := w.(type) {
	case window.TumblingWindows:
		return cut{windows: w, sliding: kind.Sliding()}, nil
	case window.SlidingWindows:
		return cut{windows: w, sliding: kind}, nil
	case window.GlobalWindows, window.CountWindows:
		return cut{windows: w, everlasting: true}, nil
	}
	return cut{}, fmt.Errorf("handlers: Windows is a %T: call Validate first", w)
}

// spans returns the windows of ts, oldest first.
func (c *cut) spans(ts int64) iter.Seq[window.Span] {
	if c.everlasting {
		return func(yield func(window.Span) bool) { yield(allTime) }
	}
	return c.sliding.Spans(ts)
}

// slice returns a span around ts whose times are all in the same windows.
func (c *cut) slice(ts int64) window.Span {
	if c.everlasting {
		return allTime
	}
	return c.sliding.Slice(ts)
}

func (c *cut) newest(ts int64) window.Span {
	if c.everlasting {
		return allTime
	}
	return c.sliding.Newest(ts)
}

// ending returns the window that ends at end, if there is one.
func (c *cut) ending(end int64) (window.Span, bool) {
	if c.everlasting {
		return allTime, end == allTime.End
	}
	s := c.sliding.Oldest(end - 1)
	return s, s.End == end
}
