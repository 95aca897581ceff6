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

// slicedSetting makes settings of windows that are merged from slices: few and many of them, of one length or
// of two in turn.
func slicedSetting(b [8]byte) setting {
	s := settingOf(b)
	s.kind, s.merge, s.size = "sliding", true, 2+int64(b[2]%62)
	s.slide = 1 + int64(b[3])%(s.size-1)
	if b[3]&0x80 != 0 {
		s.slide = 1 + s.slide%3
	}
	s.trigger, s.mode = "", handlers.Accumulating
	if b[1]%4 == 0 {
		s.trigger, s.mode = "final", handlers.EmitMode(b[1]/4%3)
	}
	s.lateness = int64(b[5] % 64)
	if b[5] >= 0xc0 {
		s.lateness = 0
	}
	return s
}

// Windows that are merged from slices give what those of a value each give, with the events of one slice behind those
// of the one before it.
func FuzzSlices(f *testing.F) {
	for i := range uint64(8) {
		f.Add([]byte{1, 4, 3, 90, 9, 200, 7, 3, 8, 17, 255, 0, 7, 1, 7, 128, 7, 90, 15, 3, 1, 4, 3, 90, 9, 200, 7, 3, 8, 17},
			i<<8|0x0201070a0609<<16, uint8(i), uint8(i))
	}
	fuzzSlowly(f, slicedSetting)
}

func TestSlicesAtRandom(t *testing.T) { playAtRandom(t, 2, slicedSetting) }

// adding adds up numbers in windows of 16 ms, one every millisecond.
func adding() handlers.Window[event, float64] {
	return handlers.Window[event, float64]{
		Name: "sums", From: "events", To: "counts", LateTo: "late",
		Key: func(e event) string { return e.Key }, Time: func(e event) time.Time { return time.UnixMilli(e.At) },
		Windows:   window.Sliding(16*ms, ms),
		Aggregate: handlers.Sum(func(e event) float64 { return e.N }),
	}
}

// A late event whose windows cannot be given is undone, also in what is remembered of several slices.
func TestALateEventThatFailsLeavesSlicesAlone(t *testing.T) {
	w := adding()
	w.AllowedLateness = time.Second
	w.Encode = func(r handlers.Result[float64]) (any, error) {
		if r.Value >= 1000 && r.Window.Start.UnixMilli() == 0 {
			return nil, stateful.Permanent(errors.New("too much"))
		}
		return r, nil
	}
	e := newEngine(t, w)
	for ts := range int64(16) {
		e.send(event{Key: "a", At: ts, N: 1})
	}
	e.send(event{Key: "b", At: 60, N: 1}, event{Key: "a", At: 12, N: 1000}, event{Key: "a", At: 3, N: 1})
	var got []string
	for _, line := range e.brief() {
		if strings.HasPrefix(line, "a 0-16") || strings.HasPrefix(line, "dead") {
			got = append(got, line)
		}
	}
	if len(got) != 3 || got[0] != "a 0-16 16" || !strings.Contains(got[1], "too much") || got[2] != "a 0-16 17 pane 1" {
		t.Errorf("published %q, want 16, a dead letter, 17", got)
	}
}

// A slice that a failed record left empty, and that windows have passed by since, still takes events.
func TestARecordThatFailedHidesNoSlice(t *testing.T) {
	w := adding()
	w.Windows, w.MaxDelay = window.Sliding(2*ms, ms), 8*ms
	fold := w.Aggregate.Fold
	w.Aggregate.Fold = func(sum float64, e event) (float64, error) {
		if e.N < 0 {
			return 0, stateful.Permanent(errors.New("bad"))
		}
		return fold(sum, e)
	}
	e := newEngine(t, w)
	e.send(event{"a", 1, -1}, event{"a", 10, 5}, event{"a", 1, 3})
	e.end()
	want := []string{"a 1-3 3", "a 9-11 5", "a 10-12 5"}
	if got := e.brief(); len(got) != 4 || !slices.Equal(got[1:], want) {
		t.Errorf("published %q, want a dead letter and %q", got, want)
	}
}

// Sums of floats depend on their order: whatever is remembered, that of a window is the same after a restart.
func TestASumOfSlicesIsTheSameAfterARestart(t *testing.T) {
	run := func(restart bool) []string {
		w := adding()
		w.Windows = window.Sliding(100*ms, ms)
		e := newEngine(t, w)
		for i := range int64(300) {
			e.send(event{Key: "a", At: i, N: 0.1 * float64(i*7919%1000)})
			if restart && i%37 == 0 {
				e.restart()
			}
		}
		e.end()
		return e.brief()
	}
	if got, want := run(true), run(false); !slices.Equal(got, want) {
		t.Errorf("the first difference is %q", firstDifference(got, want))
	}
}

// A merge that fails is the firing's fault, and the slices are forgotten in time.
func TestAMergeThatFailsIsDeadLettered(t *testing.T) {
	w := adding()
	w.Windows = window.Sliding(4*ms, 2*ms)
	w.Aggregate.Merge = func(a, b float64) (float64, error) {
		if a+b > 100 {
			return 0, stateful.Permanent(errors.New("too much"))
		}
		return a + b, nil
	}
	e := newEngine(t, w)
	for _, ev := range []event{{"a", 0, 1}, {"a", 2, 60}, {"a", 4, 60}, {"b", 5, 1}, {"a", 7, 1}} {
		e.send(ev)
	}
	e.end()
	got := e.brief()
	want := []string{"a -2-2 1", "a 0-4 61", "dead", "b 2-6 1", "a 4-8 61", "b 4-8 1", "a 6-10 1"}
	for i := range got {
		if strings.Contains(got[i], "too much") {
			got[i] = "dead"
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

// F4: the windows of a key are limited, counted as those of a value each are.
func TestOpenWindowsOfAKeyOfSlicesAreLimited(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := adding()
		w.Windows, w.MaxDelay = window.Sliding(10*ms, 5*ms), time.Second
		e := newEngine(t, w, func(c *stateful.Config) { c.Limits.WindowsPerKey = 3 })
		e.send(at("a@7", "b@7")...) // two windows each
		if restart {
			e.restart()
		}
		e.send(at("a@2", "a@12", "a@7", "b@100", "a@16", "b@12", "c@2000", "a@2001")...)
		var dead []string
		for _, line := range e.brief() {
			if strings.HasPrefix(line, "dead") {
				dead = append(dead, line)
			}
		}
		if len(dead) != 3 || !strings.Contains(dead[0], `key "a" would have 4 open windows`) || !strings.Contains(dead[1], `"b" would have 4`) || !strings.Contains(dead[2], `"a" would have 5`) {
			t.Errorf("restart %t: dead letters %q, want those of a at 12, b at 100, a at 16", restart, dead)
		}
	}
}

// What slices were stored of is refused when nothing merges them any more, with the way out.
func TestSlicesWithoutMergeAreRefused(t *testing.T) {
	e := newEngine(t, adding())
	e.send(at("a@3")...)
	w := adding()
	w.Aggregate.Merge = nil
	e.handler = w
	e.restart()
	if err := e.try(at("a@4")...); err == nil || !strings.Contains(err.Error(), "set Merge back") || !strings.Contains(err.Error(), "another Name") {
		t.Errorf("err = %v, want one that asks for Merge or another Name", err)
	}
	w = adding()
	w.Trigger = handlers.EveryUpdate()
	e.handler = w
	e.restart()
	if err := e.try(at("a@4")...); err == nil || !strings.Contains(err.Error(), "Trigger and Emit say every update") {
		t.Errorf("err = %v, want one that names the triggers", err)
	}
}

// Open windows are counted as those of a value each are.
func TestStatsOfSlices(t *testing.T) {
	var open [2][]int
	for i := range open {
		w := counting()
		w.Windows, w.MaxDelay, w.Stats = window.Sliding(10*ms, 3*ms), 20*ms, new(handlers.Stats)
		if i == 1 {
			w.Merge = func(a, b int) (int, error) { return a + b, nil }
		}
		e := newEngine(t, w)
		for _, ev := range at("a@30", "a@35", "b@80", "a@61", "c@70", "a@68", "b@400", "a@395", "a@401") {
			e.send(ev)
			open[i] = append(open[i], w.Stats.Read().Open)
		}
	}
	if !slices.Equal(open[0], open[1]) {
		t.Errorf("%v windows are open, and of slices %v", open[0], open[1])
	}
}
