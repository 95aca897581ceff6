package handlers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// sessionModel says in the plainest way what sessions give: all that are open lie in one slice.
func sessionModel(events []event, gap, delay, lateness int64) (out []string) {
	type session struct {
		key        string
		start, end int64
		n, panes   int
		fired      bool
	}
	const none = -1 << 40
	var open []session
	wm := int64(none)
	show := func(s *session) {
		line := fmt.Sprintf("%s %d-%d %d", s.key, s.start, s.end, s.n)
		if s.panes > 0 {
			line += fmt.Sprintf(" pane %d", s.panes)
		}
		s.panes++
		s.fired = true
		out = append(out, line)
	}
	highest := int64(none)
	for _, ev := range events {
		joined := session{key: ev.Key, start: ev.At, end: ev.At + gap}
		var parts, rest []session
		for _, s := range open {
			if s.key == ev.Key && s.start <= joined.end && joined.start <= s.end {
				parts = append(parts, s)
			} else {
				rest = append(rest, s)
			}
		}
		joined.n = 1
		for _, p := range parts {
			joined.start, joined.end, joined.n = min(joined.start, p.start), max(joined.end, p.end), joined.n+p.n
		}
		if len(parts) == 1 && parts[0].start == joined.start && parts[0].end == joined.end {
			joined.panes, joined.fired = parts[0].panes, parts[0].fired
		}
		if joined.end-1+lateness <= wm {
			out = append(out, fmt.Sprintf("late %s %d", ev.Key, ev.At))
		} else {
			if joined.end-1 <= wm {
				show(&joined)
			}
			open = append(rest, joined)
		}
		highest = max(highest, ev.At)
		wm = max(wm, highest-delay-1)
		slices.SortFunc(open, func(a, b session) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key)) })
		for i := range open {
			if s := &open[i]; !s.fired && s.end-1 <= wm {
				show(s)
			}
		}
		open = slices.DeleteFunc(open, func(s session) bool { return s.end-1+lateness <= wm })
	}
	return out
}

// Sessions are what a brute-force merge gives, however events are cut into batches, commits and lives
// of the process and however little is kept in memory, and no two results have one id.
func FuzzSessions(f *testing.F) {
	f.Add([]byte{1, 4, 3, 90, 9, 200, 7, 3, 8, 17, 255, 0, 7, 1, 7, 128, 7, 90}, uint8(4), uint8(3), uint8(7), uint8(0b1011), uint8(1))
	f.Add([]byte{7, 0, 15, 0, 23, 0, 31, 0, 7, 127, 7, 127, 15, 127}, uint8(0), uint8(0), uint8(0), uint8(0), uint8(2))
	f.Add([]byte{7, 0, 15, 0, 23, 0, 31, 0, 7, 127, 7, 127, 15, 127, 1, 200, 1, 180, 1, 160, 1, 140}, uint8(2), uint8(40), uint8(10), uint8(0xff), uint8(5))
	f.Fuzz(func(t *testing.T, b []byte, gap, delay, lateness, cuts, limits uint8) {
		events := script(b)
		w := visits()
		pause := int64(gap%32) + 1
		w.Windows = window.Session(time.Duration(pause) * time.Millisecond)
		w.MaxDelay = time.Duration(delay) * time.Millisecond
		w.AllowedLateness = time.Duration(lateness) * time.Millisecond
		w.Stats = new(handlers.Stats)
		e := newEngine(t, w, func(c *stateful.Config) {
			c.Limits.CommitRows = []int{0, 1, 2, 7}[limits&3]
			c.Limits.CachedEntries = []int{0, 1, 3, 5}[limits>>2&3]
		})
		for i, rest := 0, events; len(rest) > 0; i++ {
			n := min(len(rest), 1+int(cuts>>(i%5)&7))
			e.send(rest[:n]...)
			rest = rest[n:]
			if cuts>>(i%7)&1 == 1 {
				e.restart()
			}
		}
		if got, want := e.brief(), sessionModel(events, pause, int64(delay), int64(lateness)); !slices.Equal(got, want) {
			t.Errorf("gap %d, delay %d, lateness %d: %v\npublished\n%q\nwant\n%q", pause, delay, lateness, events, got, want)
		}
		e.end()
		if len(events) > 0 && w.Stats.Read().Open != 0 {
			t.Errorf("%d sessions are open after the end of the input", w.Stats.Read().Open)
		}
		seen := map[string]bool{}
		for _, row := range e.published("counts") {
			var r handlers.Result[int]
			if err := json.Unmarshal(row.Payload, &r); err != nil || seen[r.ID] {
				t.Errorf("result %s: published before, or %v", row.Payload, err)
			}
			seen[r.ID] = true
		}
	})
}

// A crash at any commit, also in the middle of an advance that spans many, changes nothing: with
// more keys than a part of the due index has in one entry, sessions that join and some that fire
// again.
func TestACrashAtAnyCommitChangesNoSession(t *testing.T) {
	var events []event
	for i := range 500 {
		events = append(events, event{Key: fmt.Sprint("key-", i*7919%199), At: int64(i % 25)})
	}
	events = append(events, event{Key: "x", At: 60}, event{Key: "key-3", At: 26}, event{Key: "key-5", At: 40}, event{Key: "new", At: 30}, event{Key: "y", At: 500})
	for _, lateness := range []int64{0, 10, 200} {
		want := sessionModel(events, 5, 30, lateness)
		for crashAt := 1; ; crashAt++ {
			left := 0
			for _, before := range []bool{true, false} {
				left = crashAt
				var stop context.CancelFunc // spares the back-off of the process that crashed
				w := visits()
				w.MaxDelay, w.AllowedLateness = 30*time.Millisecond, time.Duration(lateness)*time.Millisecond
				e := newEngine(t, w, func(c *stateful.Config) {
					c.Backend = &crashing{memory.New(), &left, before, func() { stop() }}
					c.Limits.CommitRows = 101
				})
				for rest := events; len(rest) > 0; {
					n := min(400, len(rest))
					var ctx context.Context
					ctx, stop = context.WithCancel(context.Background())
					err := e.tryWith(ctx, rest[:n]...)
					stop()
					if err == nil {
						rest = rest[n:]
						continue
					}
					if !errors.Is(err, errCrash) && !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
					e.restart()
				}
				if got := e.brief(); !slices.Equal(got, want) {
					t.Fatalf("lateness %d, crash at commit %d (before it: %t): published %d lines, want %d; first difference %q",
						lateness, crashAt, before, len(got), len(want), firstDifference(got, want))
				}
			}
			if left > 0 {
				break // there were fewer commits
			}
		}
	}
}

// What comes out does not depend on how the input is cut.
func TestSessionsAreTheSameHoweverTheInputIsCut(t *testing.T) {
	var events []event
	for i := range 3000 {
		events = append(events, event{Key: fmt.Sprint(i * 7919 % 97), At: int64(i/10 - i*31%23)})
	}
	want := sessionModel(events, 7, 10, 6)
	for _, size := range []int{1, 17, 1000} {
		for _, cached := range []int{0, 1, 50} {
			w := visits()
			w.Windows, w.MaxDelay, w.AllowedLateness = window.Session(7*time.Millisecond), 10*time.Millisecond, 6*time.Millisecond
			e := newEngine(t, w, func(c *stateful.Config) { c.Limits.CachedEntries = cached })
			for rest := events; len(rest) > 0; {
				n := min(size, len(rest))
				e.send(rest[:n]...)
				rest = rest[n:]
			}
			if got := e.brief(); !slices.Equal(got, want) {
				t.Errorf("batches of %d, %d entries cached: published %d lines, want %d; first difference %q", size, cached, len(got), len(want), firstDifference(got, want))
			}
		}
	}
}
