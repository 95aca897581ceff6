// Package model says what windows of events are, as slowly and plainly as it can be said: every
// window keeps all its events, and every step looks at every window. It is written from the
// rules alone and shares no code with package handlers, so that its tests can hold one against
// the other.
package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Model is the windows of one task.
type Model struct {
	spec      Spec
	inputs    []input
	wm        int64
	unflushed int64 // the watermark that events alone made
	now       int64 // the clock
	flushing  bool
	open      []*windowed
	counts    map[string]int64 // events so far of a key, for count windows
	out       []Output
}

// windowed is one window of one key.
type windowed struct {
	key        string
	start, end int64   // of count windows: numbers of events
	events     []Event // of its value
	panes      int
	changed    bool // there are events that no result has
	ended      bool // its trigger was asked about its end
	last       *Output

	// The trigger's own.
	n                uint64
	eventAt, clockAt int64 // never: not set
}

// New returns a model without events.
func New(s Spec) *Model {
	m := &Model{spec: s, wm: never, unflushed: never, counts: map[string]int64{}, inputs: make([]input, max(1, s.Inputs))}
	for i := range m.inputs {
		m.inputs[i].highest = never
	}
	return m
}

// Outputs returns all there was so far, in order.
func (m *Model) Outputs() []Output { return m.out }

// Event takes one event.
func (m *Model) Event(e Event) {
	m.heard(e.Input)
	if e.Not || m.assign(e) {
		m.observe(e)
	}
	m.advance()
}

// Tick moves the clock.
func (m *Model) Tick(ms int64) {
	m.now += ms
	m.listen()
	m.ring()
}

// Repeat says that old events arrived again on all inputs that had any.
func (m *Model) Repeat(inputs []bool) {
	for i, had := range inputs {
		if had {
			m.heard(i)
		}
	}
}

// Restart says that the process ended and another went on: nobody heard silence.
func (m *Model) Restart() {
	for i := range m.inputs {
		m.heard(i)
	}
}

// End ends the input: every window closes.
func (m *Model) End() {
	for i := range m.inputs {
		m.inputs[i].ended = true
		m.reckon()
		m.advance()
	}
}

// assign puts e into each window that still takes it, and reports whether there is anything left of it.
func (m *Model) assign(e Event) bool {
	var into []*windowed
	spans := m.spans(e)
	for _, s := range spans {
		w := &windowed{key: e.Key, start: s[0], end: s[1], eventAt: never, clockAt: never}
		for _, o := range m.meets(w) {
			w.start, w.end = min(w.start, o.start), max(w.end, o.end)
		}
		if m.gone(w) > m.wm {
			into = append(into, w)
		}
	}
	if len(into) == 0 {
		last := spans[len(spans)-1]
		m.out = append(m.out, Output{
			Key: e.Key, Value: fmt.Sprint(e.N), Late: true, Start: last[0], End: last[1], Watermark: m.wm,
			Silence: last[1]-1+m.spec.Lateness > m.unflushed,
		})
		return true
	}
	if e.Bad {
		return false
	}
	for _, w := range into {
		m.add(m.join(w), e)
	}
	return true
}

// meets returns the open windows that are one with w, in order of time: the same, or sessions that share a
// time or touch.
func (m *Model) meets(w *windowed) (met []*windowed) {
	for _, o := range m.open {
		one := w.start == o.start
		if m.spec.Kind == Session {
			one = w.start <= o.end && o.start <= w.end
		}
		if o.key == w.key && one {
			met = append(met, o)
		}
	}
	slices.SortFunc(met, func(a, b *windowed) int { return cmp.Compare(a.start, b.start) })
	return met
}

// join returns the open window that w is, which it may be for the first time. Sessions that
// become another window take back their last results.
func (m *Model) join(w *windowed) *windowed {
	for _, o := range m.meets(w) {
		if o.start == w.start && o.end == w.end {
			return o
		}
		m.takeBack(o)
		w.events = append(w.events, o.events...)
		w.changed = w.changed || o.changed
		w.n += o.n
		w.eventAt, w.clockAt = sooner(w.eventAt, o.eventAt), sooner(w.clockAt, o.clockAt)
		m.forget(o)
	}
	m.open = append(m.open, w)
	return w
}

func sooner(a, b int64) int64 {
	if a == never || b == never {
		return max(a, b)
	}
	return min(a, b)
}

func (m *Model) forget(w *windowed) {
	m.open = slices.DeleteFunc(m.open, func(o *windowed) bool { return o == w })
}

// add puts e into a window.
func (m *Model) add(w *windowed, e Event) {
	w.events = append(w.events, e)
	w.changed = true
	w.ended = w.end-1 <= m.wm && m.spec.timed()
	m.ask(w, asked{what: element, time: e.Time})
	if m.spec.Kind != Count {
		return
	}
	if m.counts[e.Key]++; m.counts[e.Key] == w.end {
		m.ask(w, asked{what: eventTime, time: e.Time, closing: true})
		m.forget(w)
	}
}

// spans returns the windows that an event lies in, oldest first.
func (m *Model) spans(e Event) (spans [][2]int64) {
	size, slide := m.spec.Size, m.spec.Slide
	switch m.spec.Kind {
	case Session:
		return [][2]int64{{e.Time, e.Time + m.spec.Gap}}
	case Global:
		return [][2]int64{{never, forever}}
	case Count:
		first := m.counts[e.Key] / m.spec.N * m.spec.N
		return [][2]int64{{first, first + m.spec.N}}
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

// last is the watermark at which a window has ended.
func (m *Model) last(w *windowed) int64 {
	if !m.spec.timed() {
		return forever - 1
	}
	return w.end - 1
}

// gone is the watermark at which it takes no more events.
func (m *Model) gone(w *windowed) int64 {
	if !m.spec.timed() {
		return forever - 1
	}
	return w.end - 1 + m.spec.Lateness
}

// due is something that the watermark has reached.
type due struct {
	time    int64
	w       *windowed
	what    int // an asked-for time, an end, the end of the lateness: in this order at one time
	closing bool
}

// advance does what is due at the watermark, what is due first first.
func (m *Model) advance() {
	for {
		var all []due
		for _, w := range m.open {
			if w.eventAt != never {
				all = append(all, due{w.eventAt, w, 0, false})
			}
			if !w.ended {
				all = append(all, due{m.last(w), w, 1, m.last(w) == m.gone(w)})
			} else {
				all = append(all, due{m.gone(w), w, 2, true})
			}
		}
		all = slices.DeleteFunc(all, func(d due) bool { return d.time > m.wm })
		if len(all) == 0 {
			return
		}
		m.do(slices.MinFunc(all, func(a, b due) int {
			if a.what == 0 && b.what == 0 {
				return m.before(a.time, b.time, a.w, b.w)
			}
			return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(min(a.what, 1), min(b.what, 1)),
				cmp.Compare(a.w.key, b.w.key), cmp.Compare(a.what, b.what))
		}))
	}
}

func (m *Model) do(d due) {
	if d.what == 0 {
		d.w.eventAt = never
		m.ask(d.w, asked{what: eventTime, time: d.time})
		return
	}
	d.w.ended = true
	m.ask(d.w, asked{what: eventTime, time: d.time, closing: d.closing})
	if d.closing {
		m.forget(d.w)
	}
}

// ring asks the triggers whose time of the clock has come.
func (m *Model) ring() {
	for {
		var all []*windowed
		for _, w := range m.open {
			if w.clockAt != never && w.clockAt <= m.now {
				all = append(all, w)
			}
		}
		if len(all) == 0 {
			return
		}
		w := slices.MinFunc(all, func(a, b *windowed) int {
			return m.before(a.clockAt, b.clockAt, a, b)
		})
		at := w.clockAt
		w.clockAt = never
		m.ask(w, asked{what: clockTime, time: at})
	}
}

// before orders what triggers asked for: by time, window and key.
func (m *Model) before(x, y int64, a, b *windowed) int {
	starts := cmp.Compare(a.start, b.start)
	if !m.spec.timed() {
		starts = 0
	}
	return cmp.Or(cmp.Compare(x, y), starts, cmp.Compare(a.key, b.key))
}

// value lists the events of a window. Two are of one slice when they are in the same windows.
func (m *Model) value(w *windowed) string {
	events := slices.Clone(w.events)
	if m.spec.Sliced {
		slices.SortStableFunc(events, func(a, b Event) int {
			in, other := m.spans(a), m.spans(b)
			return cmp.Or(cmp.Compare(in[0][0], other[0][0]), cmp.Compare(in[len(in)-1][0], other[len(other)-1][0]))
		})
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%d ", e.N)
	}
	return b.String()
}
