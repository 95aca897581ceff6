package model

import "slices"

// input is one input of a task.
type input struct {
	highest int64 // time seen
	since   int64 // of the clock: nothing has arrived from then on
	ended   bool
	idle    bool // it was silent for too long
	lagging bool // it was idle, was heard again, and is behind what was said meanwhile
}

// watermark is the input's own.
func (in *input) watermark(delay int64) int64 {
	if in.highest == never {
		return never
	}
	return in.highest - delay - 1
}

// heard takes note of an arrival.
func (m *Model) heard(i int) { m.inputs[i].since = m.now }

// observe takes note of an event's time.
func (m *Model) observe(e Event) {
	in := &m.inputs[e.Input]
	in.highest = max(in.highest, e.Time)
	if in.idle || in.lagging {
		in.idle, in.lagging = false, in.watermark(m.spec.MaxDelay) < m.wm
	}
	m.reckon()
}

// reckon computes the watermark, which never goes back: the minimum over the inputs that count. With
// none that counts it is the highest of the idle ones, unless one is on its way back.
func (m *Model) reckon() {
	var counted, idle []int64
	lagging, wm := false, int64(never)
	for i := range m.inputs {
		switch in := &m.inputs[i]; {
		case in.ended:
		case in.lagging:
			lagging = true
		case in.idle:
			idle = append(idle, in.watermark(m.spec.MaxDelay))
		default:
			counted = append(counted, in.watermark(m.spec.MaxDelay))
		}
	}
	switch {
	case len(counted) > 0:
		wm = slices.Min(counted)
	case lagging:
	case len(idle) > 0:
		wm = slices.Max(idle)
	default:
		wm = forever // all have ended
	}
	m.wm, m.unflushed = max(m.wm, wm), max(m.unflushed, wm)
}

// listen decides what the silence of inputs means.
func (m *Model) listen() {
	flush := m.spec.FlushAfter > 0
	for i := range m.inputs {
		in := &m.inputs[i]
		if in.ended {
			continue
		}
		silent := m.now - in.since
		flush = flush && silent >= m.spec.FlushAfter
		if len(m.inputs) > 1 && m.spec.IdleAfter > 0 && silent >= m.spec.IdleAfter {
			in.idle, in.lagging = true, false
			m.reckon()
		}
	}
	m.advance()
	if !flush || !m.spec.timed() {
		return
	}
	to := int64(never)
	for _, w := range m.open {
		to = max(to, m.gone(w))
	}
	if to > m.wm {
		m.wm, m.flushing = to, true
		m.advance()
		m.flushing = false
	}
}
