package handlers_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/pondage/pondage/handlers"
)

// slowSessions says in the plainest way what sessions give, with every trigger and in every mode.
type slowSessions struct {
	setting
	open     []*slowSession
	wm, high int64
	now      int64
	out      []string
}

type slowSession struct {
	key        string
	start, end int64
	value      string
	panes      int
	ended      bool
	changed    bool
	n          int64
	clock      int64  // 0: off
	last       string // the result that stands
}

func (s setting) expectSessions(events []event) []string {
	m := &slowSessions{setting: s, wm: never, high: never}
	for _, e := range events {
		if e.Key == "tick" {
			m.tick(e.At)
			continue
		}
		m.event(e)
	}
	m.advance(forever)
	return m.out
}

func (m *slowSessions) event(e event) {
	s := &slowSession{key: e.Key, start: e.At, end: e.At + m.size}
	var parts, rest []*slowSession
	for _, o := range m.open {
		if o.key == e.Key && o.start <= s.end && s.start <= o.end {
			parts = append(parts, o)
		} else {
			rest = append(rest, o)
		}
	}
	slices.SortFunc(parts, func(a, b *slowSession) int { return cmp.Compare(a.start, b.start) })
	for _, p := range parts {
		s.start, s.end, s.value = min(s.start, p.start), max(s.end, p.end), s.value+p.value
		s.n += p.n
		if p.clock != 0 && (s.clock == 0 || p.clock < s.clock) {
			s.clock = p.clock
		}
	}
	if s.end-1+m.lateness <= m.wm {
		m.out = append(m.out, fmt.Sprintf("late %s %d", e.Key, e.At))
	} else {
		for _, p := range parts {
			if p.start == s.start && p.end == s.end {
				s.panes, s.last = p.panes, p.last
			} else if p.last != "" {
				m.out = append(m.out, "back "+p.last)
			}
		}
		s.value += nameOf(e)
		s.changed = true
		s.n++
		s.ended = s.end-1 <= m.wm
		m.open = append(rest, s)
		switch {
		case m.trigger == "final":
		case s.ended, m.trigger == "update", m.trigger == "n" && s.n >= m.every:
			m.fire(s)
		case m.trigger == "clock" && s.clock == 0:
			s.clock = m.now + m.every
		}
	}
	m.high = max(m.high, e.At)
	m.advance(max(m.wm, m.high-m.delay-1))
}

// advance looks for what is due first until nothing is.
func (m *slowSessions) advance(wm int64) {
	m.wm = wm
	for {
		var first *slowSession
		var at int64
		for _, s := range m.open {
			t := s.end - 1
			if s.ended {
				t += m.lateness
			}
			if t <= wm && (first == nil || t < at || t == at && s.key < first.key) {
				first, at = s, t
			}
		}
		if first == nil {
			return
		}
		closing := first.ended || m.lateness == 0
		if first.changed && (closing || m.trigger != "final") {
			m.fire(first)
		}
		if m.trigger != "" && m.trigger != "final" {
			first.n, first.clock = 0, 0
		}
		if first.ended = true; closing {
			m.open = slices.DeleteFunc(m.open, func(s *slowSession) bool { return s == first })
		}
	}
}

func (m *slowSessions) tick(d int64) {
	m.now += d
	var due []*slowSession
	for _, s := range m.open {
		if s.clock != 0 && s.clock <= m.now {
			due = append(due, s)
		}
	}
	slices.SortFunc(due, func(a, b *slowSession) int {
		return cmp.Or(cmp.Compare(a.clock, b.clock), cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key))
	})
	for _, s := range due {
		if s.changed {
			m.fire(s)
		}
		s.n, s.clock = 0, 0
	}
}

func (m *slowSessions) fire(s *slowSession) {
	line := fmt.Sprintf("%s %d-%d %q pane %d", s.key, s.start, s.end, s.value, s.panes)
	if s.last != "" {
		m.out = append(m.out, "back "+s.last)
	}
	m.out = append(m.out, line)
	s.panes++
	s.changed, s.n, s.clock = false, 0, 0
	switch m.mode {
	case handlers.Retracting:
		s.last = line
	case handlers.Discarding:
		s.value = ""
	}
}

func sessionSetting(b [8]byte) setting {
	s := settingOf(b)
	s.kind, s.size, s.merge = "session", 1+int64(b[2]%12), true
	return s
}

// Sessions with every trigger and in every mode, whatever is cut where and however little is kept in
// memory, give what the plainest program gives.
func FuzzSessionTriggers(f *testing.F) {
	for trigger := range uint64(15) {
		f.Add([]byte{1, 4, 3, 90, 9, 200, 7, 3, 8, 17, 255, 0, 7, 1, 7, 128, 7, 90, 15, 3, 1, 4, 3, 90, 9, 200, 7, 3, 8, 17},
			trigger<<8|0x0201070a0609<<16, uint8(trigger), uint8(trigger))
	}
	fuzzSlowly(f, sessionSetting)
}

func TestSessionsAtRandom(t *testing.T) { playAtRandom(t, 1, sessionSetting) }
