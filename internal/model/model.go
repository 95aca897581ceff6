// Package model says what windows of events are, as slowly and plainly as it can be said: every
// window keeps all its events, and every step looks at every window. It is written from the
// rules alone and shares no code with package handlers, so that its tests can hold one against
// the other.
package model

import (
	"cmp"
	"math"
	"slices"
)

// Kind is a way to cut time into windows.
type Kind int

// The kinds.
const (
	Tumbling Kind = iota
	Sliding
	Session
	Count
)

func (k Kind) String() string { return [...]string{"tumbling", "sliding", "session", "count"}[k] }

// Spec is what windows are asked for. Times are in milliseconds.
type Spec struct {
	Kind     Kind
	Size     int64 // of tumbling and sliding windows
	Slide    int64 // of sliding ones
	Offset   int64
	Gap      int64 // of sessions
	N        int   // events in a count window
	MaxDelay int64
	Lateness int64
}

// Event is one event. All values of a window are added up.
type Event struct {
	Key   string
	Time  int64
	Value int64
}

// Result is what a window gives.
type Result struct {
	Key        string
	Start, End int64
	Value      int64
}

// Model is the windows of one task.
type Model struct {
	spec    Spec
	maximum int64
	wm      int64
	open    []*windowed
	counts  map[string]*windowed
	numbers map[string]int64
}

// windowed is one window of one key.
type windowed struct {
	key        string
	start, end int64
	events     []Event
	fired      bool
}

// New returns a model without events.
func New(s Spec) *Model {
	return &Model{spec: s, maximum: math.MinInt64, wm: math.MinInt64, counts: map[string]*windowed{}, numbers: map[string]int64{}}
}

// Event takes one event. It returns the results that follow, in order, and whether the event
// is late.
func (m *Model) Event(e Event) (out []Result, late bool) {
	if m.spec.Kind == Count {
		out = m.count(e)
	} else {
		out, late = m.assign(e)
	}
	m.maximum = max(m.maximum, e.Time)
	return append(out, m.advance(m.maximum-m.spec.MaxDelay-1)...), late
}

// End ends the input: every window closes.
func (m *Model) End() []Result { return m.advance(math.MaxInt64) }

// Open returns how many windows are open.
func (m *Model) Open() int { return len(m.open) }

// assign puts e into each window that still takes it. Windows that had their end already give
// a result at once.
func (m *Model) assign(e Event) (out []Result, late bool) {
	late = true
	for _, s := range m.spans(e) {
		w := &windowed{key: e.Key, start: s[0], end: s[1], events: []Event{e}}
		var joined []*windowed
		for _, o := range m.open {
			if o.key == e.Key && m.one(w, o) {
				joined = append(joined, o)
			}
		}
		for _, o := range joined {
			w.start, w.end = min(w.start, o.start), max(w.end, o.end)
			w.events = append(w.events, o.events...)
		}
		if m.gone(w) {
			continue
		}
		late = false
		m.open = slices.DeleteFunc(m.open, func(o *windowed) bool { return slices.Contains(joined, o) })
		m.open = append(m.open, w)
		if w.end-1 <= m.wm {
			w.fired = true
			out = append(out, w.result())
		}
	}
	return out, late
}

// one reports whether a new window and an open one of its key are one window: the same, or
// sessions that share a time or touch.
func (m *Model) one(w, open *windowed) bool {
	if m.spec.Kind == Session {
		return w.start <= open.end && open.start <= w.end
	}
	return w.start == open.start
}

// gone reports whether a window's end and its allowed lateness have passed.
func (m *Model) gone(w *windowed) bool { return w.end-1+m.spec.Lateness <= m.wm }

// spans returns the windows that an event's time lies in, oldest first.
func (m *Model) spans(e Event) (spans [][2]int64) {
	size, slide := m.spec.Size, m.spec.Slide
	switch m.spec.Kind {
	case Session:
		return [][2]int64{{e.Time, e.Time + m.spec.Gap}}
	case Tumbling:
		slide = size
	}
	for start := e.Time - size + 1; start <= e.Time; start++ {
		if (start-m.spec.Offset)%slide == 0 {
			spans = append(spans, [2]int64{start, start + size})
		}
	}
	return spans
}

// advance moves the watermark and fires what is due, in order of time and key.
func (m *Model) advance(to int64) (out []Result) {
	if to <= m.wm {
		return nil
	}
	m.wm = to
	slices.SortFunc(m.open, func(a, b *windowed) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key))
	})
	for _, w := range m.open {
		if !w.fired && w.end-1 <= m.wm {
			w.fired = true
			out = append(out, w.result())
		}
	}
	m.open = slices.DeleteFunc(m.open, func(w *windowed) bool {
		return m.wm == math.MaxInt64 || m.gone(w)
	})
	return out
}

func (w *windowed) result() Result {
	r := Result{Key: w.key, Start: w.start, End: w.end}
	for _, e := range w.events {
		r.Value += e.Value
	}
	return r
}

// count puts e into the key's window of N events.
func (m *Model) count(e Event) []Result {
	w := m.counts[e.Key]
	if w == nil {
		w = &windowed{key: e.Key}
		m.counts[e.Key] = w
	}
	w.events = append(w.events, e)
	if len(w.events) < m.spec.N {
		return nil
	}
	delete(m.counts, e.Key)
	return []Result{w.result()}
}
