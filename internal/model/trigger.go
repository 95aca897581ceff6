package model

// What a trigger is asked about.
const (
	element   = iota // an event was folded
	eventTime        // the watermark has reached the window's end, the end of the lateness, or an asked-for time
	clockTime        // the clock has
)

type asked struct {
	what    int
	time    int64
	closing bool
}

// What it decides.
const (
	goOn = iota
	fire
	fireAndPurge
	purge
)

// ask asks the trigger about a window and does what it decides.
func (m *Model) ask(w *windowed, a asked) {
	d := m.decide(w, a)
	if d == fire && m.spec.Mode == Discarding {
		d = fireAndPurge
	}
	if d == fire || d == fireAndPurge {
		m.fire(w)
	}
	if d == purge || d == fireAndPurge {
		w.events, w.changed, w.last = nil, false, nil
	}
}

func (m *Model) decide(w *windowed, a asked) int {
	ended := m.last(w) <= m.wm || a.closing
	left := goOn
	if w.changed {
		left = fire
	}
	switch m.spec.Trigger {
	case AtEnd:
		switch {
		case a.what == eventTime:
			return left
		case a.what == element && ended:
			return fire
		}
	case EveryN:
		if a.what == element {
			if w.n++; !ended && w.n < uint64(m.spec.Every) {
				return goOn
			}
		}
		w.n = 0
		return left
	case EveryTime:
		if a.what == element && !ended {
			if w.clockAt == never {
				w.clockAt = m.now + m.spec.Every
			}
			return goOn
		}
		w.clockAt = never
		return left
	case FinalOnly:
		if a.closing {
			return left
		}
	case Own:
		return m.own(w, a, ended)
	}
	return goOn
}

// own drops the value at an event of the window's last millisecond, fires and drops it at the third
// event, and fires a while after the first one by both clocks and when no more is taken.
func (m *Model) own(w *windowed, a asked, ended bool) int {
	switch {
	case a.what == clockTime:
		return fire
	case a.what == eventTime && ended && !a.closing:
		return goOn
	case a.what == eventTime:
		return fire
	case m.spec.timed() && a.time == w.end-1:
		w.n, w.eventAt, w.clockAt = 0, never, never
		return purge
	}
	switch w.n++; w.n {
	case 1:
		w.eventAt, w.clockAt = a.time+m.spec.Every, m.now+m.spec.Every
	case 3:
		w.n, w.eventAt, w.clockAt = 0, never, never
		return fireAndPurge
	}
	return goOn
}

// fire gives a result of all events in the value. When retracting, the one before is taken back.
func (m *Model) fire(w *windowed) {
	if len(w.events) == 0 {
		return
	}
	m.takeBack(w)
	o := Output{Key: w.key, Start: w.start, End: w.end, Value: m.value(w), Pane: w.panes, Flushed: m.flushing}
	if !m.spec.timed() { // what has no end is shown from its first event to its last
		o.Start, o.End = w.events[0].Time, w.events[0].Time+1
		for _, e := range w.events {
			o.Start, o.End = min(o.Start, e.Time), max(o.End, e.Time+1)
		}
	}
	m.out = append(m.out, o)
	w.panes++
	if w.changed = false; m.spec.Mode == Retracting {
		w.last = &o
	}
}

// takeBack takes the result that stands back.
func (m *Model) takeBack(w *windowed) {
	if w.last == nil {
		return
	}
	back := *w.last
	back.Back, back.Flushed = true, m.flushing
	m.out = append(m.out, back)
	w.last = nil
}
