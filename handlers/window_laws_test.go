package handlers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// model says in the plainest way what windows of 10 ms give.
func model(events []event, delay, lateness int64) (out []string) {
	type cell struct {
		key string
		end int64
	}
	const none = -1 << 40
	open, panes := map[cell]int{}, map[cell]int{}
	highest, fired := int64(none), int64(none)
	show := func(c cell) {
		s := fmt.Sprintf("%s %d-%d %d", c.key, c.end-10, c.end, open[c])
		if panes[c] > 0 {
			s += fmt.Sprintf(" pane %d", panes[c])
		}
		panes[c]++
		out = append(out, s)
	}
	for _, ev := range events {
		wm := fired
		end := ev.At + 10 - ((ev.At%10)+10)%10
		c := cell{ev.Key, end}
		switch {
		case end-1+lateness <= wm:
			out = append(out, fmt.Sprintf("late %s %d", ev.Key, ev.At))
		default:
			open[c]++
			if end-1 <= wm {
				show(c)
			}
		}
		highest = max(highest, ev.At)
		wm = max(fired, highest-delay-1)
		var due []cell
		for c := range open {
			if c.end-1 > fired && c.end-1 <= wm {
				due = append(due, c)
			}
		}
		slices.SortFunc(due, func(a, b cell) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key)) })
		for _, c := range due {
			show(c)
		}
		fired = wm
	}
	return out
}

// script makes events of bytes: at most 5 keys, times that go on slowly with jumps back and ahead.
func script(b []byte) []event {
	var out []event
	now := int64(0)
	for ; len(b) >= 2 && len(out) < 100; b = b[2:] {
		now += int64(b[0] & 7)
		ts := now + int64(int8(b[1]))/4
		out = append(out, event{Key: string('a' + rune(b[0]>>3)%5), At: ts})
	}
	return out
}

// In whatever order events come, however they are cut into batches, commits and
// lives of the process, with however little kept in memory: each is counted in one window or
// late, no result is published twice, and results come in order of end and key.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 4, 3, 90, 9, 200, 7, 3, 8, 17, 255, 0, 7, 1, 7, 128, 7, 90}, uint8(3), uint8(7), uint8(0b1011), uint8(1))
	f.Add([]byte{7, 0, 15, 0, 23, 0, 31, 0, 7, 127, 7, 127, 15, 127}, uint8(0), uint8(0), uint8(0), uint8(2))
	f.Add([]byte{7, 0, 15, 0, 23, 0, 31, 0, 7, 127, 7, 127, 15, 127}, uint8(40), uint8(10), uint8(0xff), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, delay, lateness, cuts, limits uint8) {
		events := script(b)
		w := counting()
		w.LateTo = "late"
		w.MaxDelay = time.Duration(delay) * time.Millisecond
		w.AllowedLateness = time.Duration(lateness) * time.Millisecond
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
		if got, want := e.brief(), model(events, int64(delay), int64(lateness)); !slices.Equal(got, want) {
			t.Errorf("%v\npublished\n%q\nwant\n%q", events, got, want)
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

// errCrash is what a backend says that crashes.
var errCrash = errors.New("crash")

// crashing fails the n-th commit, before or after it takes effect.
type crashing struct {
	stateful.Backend
	left    *int
	before  bool
	crashes func() // is told
}

type crashingStore struct {
	stateful.Store
	c    *crashing
	dead bool
}

func (c *crashing) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, h, err := c.Backend.Open(ctx, id)
	return &crashingStore{Store: s, c: c}, h, err
}

func (s *crashingStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	if s.dead {
		return crashed{}
	}
	*s.c.left--
	if s.dead = *s.c.left == 0; !s.dead {
		return s.Store.Submit(ctx, c)
	}
	s.c.crashes()
	if !s.c.before {
		_ = s.Store.Submit(ctx, c).Wait(ctx)
	}
	return crashed{}
}

type crashed struct{}

func (crashed) Wait(context.Context) error {
	return fmt.Errorf("%w: %w", stateful.ErrCommitUnknown, errCrash)
}

// A crash at any commit, also in the middle of an advance that spans many, with
// more keys than are read at once: nothing is lost, doubled or out of order.
func TestACrashAtAnyCommitChangesNothing(t *testing.T) {
	var events []event
	for i := range 800 {
		events = append(events, event{Key: fmt.Sprint("key-", i*7919%799), At: int64(i % 25)})
	}
	events = append(events, event{Key: "x", At: 60}, event{Key: "key-3", At: 12}, event{Key: "new", At: 3}, event{Key: "y", At: 500})
	for _, lateness := range []int64{0, 10, 200} {
		want := model(events, 30, lateness)
		for crashAt := 1; ; crashAt++ {
			left := 0
			for _, before := range []bool{true, false} {
				left = crashAt
				var stop context.CancelFunc // spares the back-off of the process that crashed
				w := counting()
				w.LateTo, w.MaxDelay, w.AllowedLateness = "late", 30*time.Millisecond, time.Duration(lateness)*time.Millisecond
				e := newEngine(t, w, func(c *stateful.Config) {
					c.Backend = &crashing{memory.New(), &left, before, func() { stop() }}
					c.Limits.CommitRows = 211
				})
				rest := events
				for len(rest) > 0 {
					n := min(400, len(rest))
					var ctx context.Context
					ctx, stop = context.WithCancel(context.Background())
					err := e.tryWith(ctx, rest[:n]...)
					stop()
					if err != nil {
						if !errors.Is(err, errCrash) && !errors.Is(err, context.Canceled) {
							t.Fatal(err)
						}
						e.restart()
						continue
					}
					rest = rest[n:]
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

func firstDifference(got, want []string) [2]string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return [2]string{"", want[i]}
		case i >= len(want):
			return [2]string{got[i], ""}
		case got[i] != want[i]:
			return [2]string{got[i], want[i]}
		}
	}
	return [2]string{}
}

// So they are when the state has no schema yet.
func TestOtherWindowsOnStoredStateAreRefused(t *testing.T) {
	w := counting()
	e := newEngine(t, noSchema{w})
	e.send(at("a@3")...)
	w.Windows = window.Tumbling(5 * time.Millisecond) // has windows with the same ends
	e.handler = noSchema{w}
	e.restart()
	err := e.try(at("a@4")...)
	if err == nil || !strings.Contains(err.Error(), `"tumbling 10ms offset 0s"`) || !strings.Contains(err.Error(), "another Name") {
		t.Errorf("err = %v, want one that names the stored windows and the way out", err)
	}
	e.handler = counting()
	e.restart()
	e.send(at("a@4", "a@10")...)
	if got, want := e.brief(), []string{"a 0-10 2"}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// AllowedLateness may be changed between runs: what fired does not fire again, and
// what is left behind is forgotten.
func TestLatenessMayChange(t *testing.T) {
	w := counting()
	w.LateTo, w.AllowedLateness = "late", 50*time.Millisecond
	e := newEngine(t, w)
	e.send(at("a@3", "a@10", "a@4")...)
	w.AllowedLateness = 0
	w.Stats = new(handlers.Stats)
	e.handler = w
	e.restart()
	e.send(at("a@11", "a@5", "a@20", "a@21")...)
	want := []string{"a 0-10 1", "a 0-10 2 pane 1", "late a 5", "a 10-20 2"}
	if got := e.brief(); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
	if open := w.Stats.Read().Open; open != 1 {
		t.Errorf("%d windows are open, want 1", open)
	}
}
