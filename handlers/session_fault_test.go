package handlers_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

func TestSessionsNeedMerge(t *testing.T) {
	w := visits()
	refused(t, w, nil)
	w.Merge = nil
	refused(t, w, []string{"Merge is required with sessions"})
	w.Windows = window.Session(1500 * time.Microsecond)
	refused(t, w, []string{"gap of sessions 1.5ms"})
}

// Sessions that are opened, joined and forgotten are counted: Open tells, also after a restart.
func TestSessionsAreCounted(t *testing.T) {
	w := visits()
	w.MaxDelay, w.AllowedLateness = 30*time.Millisecond, 10*time.Millisecond
	w.Stats = new(handlers.Stats)
	e := newEngine(t, w)
	for _, tt := range []struct {
		send string
		open int
	}{
		{"a@0", 1},
		{"a@1", 1},
		{"a@20", 2},
		{"b@20", 3},
		{"a@10", 4},
		{"a@5", 3},  // a 0-15
		{"a@15", 2}, // a 0-25
		{"a@40", 3},
		{"a@64", 4}, // the watermark is 33
		{"c@65", 3}, // and now 34: b 20-25 and a 0-25 are gone
		{"c@99", 3}, // 68: a 40-45 and c 65-70
	} {
		e.send(at(tt.send)...)
		e.restart()
		if got := w.Stats.Read().Open; got != tt.open {
			t.Errorf("after %s %d sessions are open, want %d", tt.send, got, tt.open)
		}
	}
	e.end()
	if got := w.Stats.Read(); got.Open != 0 || got.Late != 0 || got.Folded != 11 {
		t.Errorf("at the end Stats = %+v, want nothing open, 11 folded", got)
	}
}

// F4: a key may have so many open sessions and no more; other keys go on, and so do the sessions it has.
func TestOpenSessionsOfAKeyAreLimited(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := visits()
		w.MaxDelay = time.Second
		e := newEngine(t, w, func(c *stateful.Config) { c.Limits.WindowsPerKey = 3 })
		e.send(at("a@0", "a@10", "a@20")...)
		if restart {
			e.restart()
		}
		e.send(at("b@0", "a@30", "a@21", "a@5", "a@31", "b@30")...)
		e.end()
		got := e.brief()
		dead := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, "dead:") })
		if len(dead) != 1 || !strings.Contains(dead[0], `key "a" has 3 open windows`) || !strings.Contains(dead[0], "Limits.WindowsPerKey") {
			t.Errorf("restart %t: dead letters %q, want one", restart, dead)
		}
		want := []string{"b 0-5 1", "a 0-15 3", "a 20-26 2", "b 30-35 1", "a 31-36 1"}
		if results := slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "dead:") }); !slices.Equal(results, want) {
			t.Errorf("restart %t: results %q, want %q", restart, results, want)
		}
	}
}

// T2: a record that fails leaves its sessions as they were, whatever it would have done to them.
func TestARecordThatFailsLeavesSessionsAlone(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  string
	}{
		{"opening the first", "b@1"},
		{"going on with the latest", "a@11"},
		{"opening a later one", "a@30"},
		{"opening an older one", "a@-10"},
		{"joining two", "a@5"},
		{"coming after the end", "c@-40"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := visits()
			w.MaxDelay, w.AllowedLateness = 20*time.Millisecond, 30*time.Millisecond
			failing := true
			bad := at(tt.bad)[0]
			w.Fold = func(n int, ev event) (int, error) {
				if failing && ev.Key == bad.Key && ev.At == bad.At {
					return 0, stateful.Permanent(errors.New("unlucky"))
				}
				return n + 1, nil
			}
			e := newEngine(t, w)
			e.send(at("c@-39", "a@0", "a@10", tt.bad, "a@1", tt.bad)...)
			failing = false
			e.send(at("a@9", "z@200")...)
			got := slices.DeleteFunc(e.brief(), func(s string) bool { return strings.HasPrefix(s, "dead: unlucky") })
			want := []string{"c -39--34 1", "a 0-6 2", "a 9-15 2"}
			if !slices.Equal(got, want) {
				t.Errorf("published %q, want %q", got, want)
			}
			if n := len(e.published("dead")); n != 2 {
				t.Errorf("%d dead letters, want 2", n)
			}
		})
	}
}

// T9: a session whose firing fails for good is dead-lettered with its key and time, and forgotten as if it had fired.
func TestASessionWhoseFiringFailsIsDeadLettered(t *testing.T) {
	for _, lateness := range []time.Duration{0, 10 * time.Millisecond} {
		w := visits()
		w.AllowedLateness = lateness
		w.Stats = new(handlers.Stats)
		w.Encode = func(r handlers.Result[int]) (any, error) {
			if r.Key == "b" {
				return nil, stateful.Permanent(errors.New("no b"))
			}
			return r, nil
		}
		e := newEngine(t, w)
		e.send(at("b@0", "a@0", "c@0", "a@10", "a@40")...)
		got := e.brief()
		if len(got) != 4 || got[0] != "a 0-5 1" || !strings.Contains(got[1], "no b") || got[2] != "c 0-5 1" || got[3] != "a 10-15 1" {
			t.Errorf("published %q, want a, a dead letter of b, c, a", got)
		}
		if open := w.Stats.Read().Open; open != 1 {
			t.Errorf("lateness %v: %d sessions are open, want 1", lateness, open)
		}
	}
}

// So they are when the state has no schema yet.
func TestOtherSessionsOnStoredStateAreRefused(t *testing.T) {
	w := visits()
	e := newEngine(t, noSchema{w})
	e.send(at("a@3")...)
	w.Windows = window.Session(6 * time.Millisecond)
	e.handler = noSchema{w}
	e.restart()
	if err := e.try(at("a@4")...); err == nil || !strings.Contains(err.Error(), `"session gap 5ms"`) {
		t.Errorf("err = %v, want one that names the stored windows", err)
	}
}

// AllowedLateness may be changed between runs: what is gone by the new one takes no event and joins nothing.
func TestLatenessOfSessionsMayChange(t *testing.T) {
	w := visits()
	w.AllowedLateness = 50 * time.Millisecond
	e := newEngine(t, w)
	e.send(at("a@0", "a@6", "c@0", "b@20")...)
	w.AllowedLateness = 10 * time.Millisecond
	w.Stats = new(handlers.Stats)
	e.handler = w
	e.restart()
	e.send(at("a@1", "a@0", "c@1", "b@70")...) // by 19 a 0-5 and c 0-5 are gone, a 6-11 is not
	want := []string{"a 0-5 1", "c 0-5 1", "a 6-11 1", "a 1-11 2", "a 0-11 3", "late c 1", "b 20-25 1"}
	if got := e.brief(); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if open := w.Stats.Read().Open; open != 1 {
		t.Errorf("%d sessions are open, want 1", open)
	}
}
