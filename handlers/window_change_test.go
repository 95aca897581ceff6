package handlers_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Trigger and AllowedLateness may change between runs: each window goes on with what it has, gives no result
// twice and loses none, as the plainest program does that is told of the change.
func TestTriggersAndLatenessMayChangeAtRandom(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 77))
		random := func() (set [8]byte) {
			for i := range set {
				set[i] = byte(r.Uint32())
			}
			return set
		}
		settings := []setting{settingOf(random())}
		settings[0].merge = false // slices have one trigger
		for range 1 + r.IntN(3) {
			next, other := settings[0], settingOf(random())
			next.trigger, next.every, next.lateness = other.trigger, other.every, other.lateness
			settings = append(settings, next)
		}
		b := make([]byte, r.IntN(160))
		for i := range b {
			b[i] = byte(r.Uint32())
			if i%2 == 1 && r.IntN(4) > 0 {
				b[i] = byte(int8(b[i]) / 4)
			}
		}
		if !playChanges(t, settings, longScript(b), uint8(r.Uint32())) {
			t.Fatalf("of seed %d", seed)
		}
	}
}

// playChanges plays each part of the script with its setting.
func playChanges(t *testing.T, settings []setting, script []event, limits uint8) bool {
	t.Helper()
	now := time.UnixMilli(0)
	m := newSlow(settings[0])
	e := newEngine(t, settings[0].handler(), func(c *stateful.Config) {
		c.Now = func() time.Time { return now }
		c.Limits.CommitRows = []int{0, 1, 2, 7}[limits&3]
		c.Limits.CachedEntries = []int{0, 1, 3, 9}[limits>>2&3]
	})
	for i, s := range settings {
		part := script[len(script)*i/len(settings) : len(script)*(i+1)/len(settings)]
		if i > 0 {
			m.change(s)
			e.handler = s.handler()
			e.restart()
			// What is due by the new lateness is so at the first event.
			first := event{Key: "a", At: m.high, N: float64(1000 + i)}
			if m.high == never {
				first.At = 0
			}
			part = append([]event{first}, part...)
		}
		for _, ev := range part {
			if ev.Key != "tick" {
				m.event(ev)
				e.send(ev)
				continue
			}
			m.tick(ev.At)
			now = now.Add(time.Duration(ev.At) * ms)
			if err := e.p.Tick(t.Context(), "lists"); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.advance(forever)
	e.end()
	got := e.long()
	if slices.Equal(got, m.out) {
		return true
	}
	var text []string
	for _, s := range settings {
		text = append(text, s.String())
	}
	t.Errorf("%s limits %d\n%v\npublished\n%s\nwant\n%s\nfirst difference %q", strings.Join(text, "\n"), limits, script,
		strings.Join(got, "\n"), strings.Join(m.out, "\n"), firstDifference(got, m.out))
	return false
}

func TestTheTriggerMayChange(t *testing.T) {
	type W = handlers.Window[event, int]
	late := func(w *W) { w.AllowedLateness = 50 * ms }
	for _, tt := range []struct {
		name       string
		windows    window.Windows
		was, is    func(*W)
		first      []event
		then       []event
		afterwards []string // what comes after the change
	}{
		{
			"what had not fired does", window.Tumbling(10 * ms), late, func(w *W) { late(w); w.Trigger = handlers.EveryN(2) },
			at("a@1", "a@2", "b@3"), at("b@4", "a@10"),
			[]string{"a 0-10 2", "b 0-10 2"},
		},
		{
			"what had is not given again", window.Tumbling(10 * ms), late, func(w *W) { late(w); w.Trigger = handlers.EveryN(2) },
			at("a@1", "a@10", "a@2", "b@11"), at("a@3", "a@99"),
			[]string{"a 0-10 3 pane 2", "a 10-20 1", "b 10-20 1"},
		},
		{
			"nor by FinalOnly, unless more has come", window.Tumbling(10 * ms), late, func(w *W) { late(w); w.Trigger = handlers.FinalOnly() },
			at("a@1", "b@1", "a@10"), at("b@2", "c@99"),
			[]string{"b 0-10 2 pane 1", "a 10-20 1"},
		},
		{
			"what FinalOnly held back comes, with what is new or at the end", window.Tumbling(10 * ms), func(w *W) { late(w); w.Trigger = handlers.FinalOnly() }, late,
			at("a@1", "b@1", "a@10"), at("b@2", "c@99"),
			[]string{"b 0-10 2", "a 10-20 1", "a 0-10 1"},
		},
		{
			"sessions: what had not ended gives its result at its end", window.Session(10 * ms), late, func(w *W) { late(w); w.Trigger = handlers.EveryN(3) },
			at("a@1", "a@2"), at("b@30", "c@99"),
			[]string{"a 1-12 2", "b 30-40 1"},
		},
		{
			"sessions: what had ended only when more comes", window.Session(10 * ms), late, func(w *W) { late(w); w.Trigger = handlers.EveryN(3) },
			at("a@1", "b@1", "c@30"), at("b@1", "c@99"),
			[]string{"b 1-11 2 pane 1", "c 30-40 1"},
		},
		{
			"sessions: results of a trigger are counted on", window.Session(10 * ms), func(w *W) { late(w); w.Trigger = handlers.EveryUpdate() }, late,
			at("a@1", "a@1"), at("c@30"),
			[]string{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handler := func(change func(*W)) W {
				w := counting()
				w.Windows, w.LateTo = tt.windows, "late"
				w.Merge = func(a, b int) (int, error) { return a + b, nil }
				change(&w)
				return w
			}
			e := newEngine(t, handler(tt.was))
			e.send(tt.first...)
			before := len(e.brief())
			e.handler = handler(tt.is)
			e.restart()
			e.send(tt.then...)
			if got := e.brief()[before:]; !slices.Equal(got, tt.afterwards) {
				t.Errorf("then published %q, want %q", got, tt.afterwards)
			}
		})
	}
}

// With more lateness than before, what was forgotten stays so.
func TestMoreLatenessBringsNothingBack(t *testing.T) {
	for _, tt := range []struct {
		kind  window.Windows
		want  []string
		after []string // of an event in windows that were not forgotten
	}{
		{window.Tumbling(10 * ms), []string{"a 0-10 1", "late a 0", "late a 0", "late b 35", "a 50-60 1"}, []string{"a 50-60 2 pane 1"}},
		{window.Session(10 * ms), []string{"a 0-10 1", "late a 0", "late a 0", "late b 35", "a 50-60 1"}, []string{"a 50-66 2"}},
		{
			window.Sliding(10*ms, 5*ms),
			[]string{"a -5-5 1", "a 0-10 1", "late a 0", "late a 0", "late b 35", "a 45-55 1", "a 50-60 1"},
			[]string{"a 50-60 2 pane 1", "a 55-65 1"},
		},
	} {
		w := counting()
		w.Windows, w.LateTo = tt.kind, "late"
		w.Merge = func(a, b int) (int, error) { return a + b, nil }
		e := newEngine(t, w)
		e.send(at("a@0", "a@50")...)
		w.AllowedLateness = 100 * ms
		for range 2 { // the second time, it is known from what is stored
			e.handler = w
			e.restart()
			e.send(at("a@0")...)
		}
		e.send(at("b@35", "a@70", "a@56")...)
		if got, want := e.brief(), slices.Concat(tt.want, tt.after); !slices.Equal(got, want) {
			t.Errorf("%v: published %q, want %q", tt.kind, got, want)
		}
	}
}

// With less lateness than before, what FinalOnly held back is given.
func TestLessLatenessLosesNothing(t *testing.T) {
	for _, kind := range []window.Windows{window.Tumbling(10 * ms), window.Session(10 * ms)} {
		w := counting()
		w.Windows, w.AllowedLateness, w.Trigger = kind, 100*ms, handlers.FinalOnly()
		w.Merge = func(a, b int) (int, error) { return a + b, nil }
		e := newEngine(t, w)
		e.send(at("a@0", "a@50")...)
		w.AllowedLateness = 20 * ms
		e.handler = w
		e.restart()
		e.send(at("a@51")...)
		if got, want := e.brief(), []string{"a 0-10 1"}; !slices.Equal(got, want) {
			t.Errorf("%v: published %q, want %q", kind, got, want)
		}
	}
}

// Windows in slices that FinalOnly holds back cannot wait shorter than they did: then it is not known which are given.
func TestLessLatenessOfFinalSlicesIsRefused(t *testing.T) {
	w := adding()
	w.Trigger, w.AllowedLateness = handlers.FinalOnly(), 50*ms
	e := newEngine(t, w)
	e.send(at("a@3")...)
	w.AllowedLateness = 20 * ms
	e.handler = w
	e.restart()
	if err := e.try(at("a@4")...); err == nil || !strings.Contains(err.Error(), "was 50ms and is 20ms") || !strings.Contains(err.Error(), "another Name") {
		t.Errorf("err = %v, want one with both and the way out", err)
	}
}

// T8: with more lateness than before, FinalOnly does not give again what it gave, of slices neither.
func TestMoreLatenessGivesNoFinalResultTwice(t *testing.T) {
	for _, sliced := range []bool{false, true} {
		w := counting()
		w.Windows, w.Trigger, w.LateTo = window.Sliding(10*ms, 5*ms), handlers.FinalOnly(), "late"
		if sliced {
			w.Merge = func(a, b int) (int, error) { return a + b, nil }
		}
		e := newEngine(t, w)
		e.send(at("a@1", "a@7", "a@10")...)
		w.AllowedLateness = 100 * ms
		e.handler = w
		e.restart()
		e.send(at("a@18")...)
		e.end()
		got := e.brief()
		for i, line := range got {
			if slices.Contains(got[:i], line) {
				t.Errorf("sliced %v: %q is published twice in %q", sliced, line, got)
			}
		}
	}
}

// What was forgotten under a smaller lateness does not depend on when the task is opened again, also when all that
// moved the watermark since was left out.
func TestMoreLatenessDoesNotDependOnRestarts(t *testing.T) {
	var want []string
	for _, again := range []bool{false, true} {
		w := counting()
		w.LateTo, w.Where = "late", func(ev event) bool { return ev.Key != "x" }
		e := newEngine(t, w)
		e.send(at("a@10", "x@25")...)
		w.AllowedLateness = 100 * ms
		e.handler = w
		e.restart()
		e.send(at("x@80")...)
		if again {
			e.restart()
		}
		e.send(at("a@65")...)
		e.end()
		if got := e.brief(); want == nil {
			want = got
		} else if !slices.Equal(got, want) {
			t.Errorf("opened again it publishes %q, otherwise %q", got, want)
		}
	}
}
