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

// own is a trigger that uses all there is: it fires and purges at every third event, fires a while
// after the first by both clocks, and purges when an event has the last millisecond of its window.
type own struct{ after time.Duration }

func (o own) String() string { return "own " + o.after.String() }

func (o own) OnElement(m handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if m.Time.Equal(m.Window.End.Add(-ms)) {
		return handlers.Purge, handlers.TriggerState{}
	}
	if s.N++; s.N == 3 {
		return handlers.FireAndPurge, handlers.TriggerState{}
	}
	if s.N == 1 {
		s.EventAt, s.ClockAt = m.Time.Add(o.after), m.Now.Add(o.after-ms/2)
	}
	return handlers.Continue, s
}

func (own) OnEventTime(m handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if m.Ended && !m.Closing {
		return handlers.Continue, s // the end gives nothing, the end of the lateness does
	}
	return handlers.Fire, s
}

func (own) OnProcessingTime(_ handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	return handlers.Fire, s
}

func TestATriggerOfYourOwn(t *testing.T) {
	for _, tt := range []struct {
		name string
		send []event
		want []string
	}{
		{"fire and purge begins anew", at("a@0", "a@0", "a@0", "a@0", "a@0", "a@0"), []string{"a 0-10 3", "a 0-10 3 pane 1"}},
		{"an event time is asked for", at("a@1", "a@6"), []string{"a 0-10 2"}}, // WM 5 is the time
		{"not before it has come", at("a@1", "a@5"), nil},
		{"the clock is rounded up and asked", at("a@1", "tick@3", "a@2", "tick@1"), []string{"a 0-10 2"}},
		{"a purge drops what was there, timers too", at("a@1", "a@9", "tick@9", "b@15", "b@16"), nil},
		{"the end is asked about, and the end of lateness", at("a@6", "b@14"), nil},
		{"of which the latter gives a result here", at("a@6", "b@15"), []string{"a 0-10 1"}},
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				now := time.UnixMilli(1000)
				w := counting()
				w.Trigger, w.AllowedLateness = own{4 * ms}, 5*ms
				e := newEngine(t, w, func(c *stateful.Config) { c.Now = func() time.Time { return now } })
				for _, ev := range tt.send {
					if ev.Key == "tick" {
						now = now.Add(time.Duration(ev.At) * ms)
						if err := e.p.Tick(t.Context(), "counts"); err != nil {
							t.Fatal(err)
						}
						continue
					}
					e.send(ev)
					if restarts {
						e.restart()
						if err := e.batch(nil, false); err != nil {
							t.Fatal(err)
						}
					}
				}
				if got := e.brief(); !slices.Equal(got, tt.want) {
					t.Errorf("published %q, want %q", got, tt.want)
				}
			})
		}
	}
}

// T9: a timer that fails for good is dead-lettered, and the trigger asks for another with the next event.
func TestATimerThatFailsForGoodIsNotTheLast(t *testing.T) {
	for name, windows := range map[string]window.Windows{
		"tumbling": window.Tumbling(100 * ms), "sessions": window.Session(100 * ms), "global": window.Global(),
	} {
		for _, restarts := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				now := time.UnixMilli(1000)
				w := counting()
				w.Windows, w.Trigger = windows, handlers.Every(5*ms)
				w.Merge = func(a, b int) (int, error) { return a + b, nil }
				w.Encode = func(r handlers.Result[int]) (any, error) {
					if r.Value == 1 {
						return nil, stateful.Permanent(errors.New("one is no number"))
					}
					return r.Value, nil
				}
				e := newEngine(t, w, func(c *stateful.Config) { c.Now = func() time.Time { return now } })
				for _, ev := range at("a@1", "a@2", "a@3") {
					e.send(ev)
					now = now.Add(5 * ms)
					if err := e.p.Tick(t.Context(), "counts"); err != nil {
						t.Fatal(err)
					}
					if restarts {
						e.restart()
					}
				}
				var got []string
				for _, row := range e.sink.rows {
					got = append(got, row.Topic+" "+string(row.Payload))
				}
				if want := []string{"dead ", "counts 2", "counts 3"}; !slices.Equal(got, want) {
					t.Errorf("published %q, want %q", got, want)
				}
			})
		}
	}
}

func TestSlidingWindows(t *testing.T) {
	type W = handlers.Window[event, int]
	for _, tt := range []struct {
		name   string
		change func(*W)
		send   []event
		want   []string
	}{
		{"an event is in all its windows", nil, at("a@7", "a@20"), []string{"a 0-10 1", "a 5-15 1"}},
		{"windows that begin before 0 are made", nil, at("a@1", "a@10"), []string{"a -5-5 1", "a 0-10 1"}},
		{"vector 19: late for one window it is used for the rest", nil, at("a@7", "a@12", "a@6", "a@20"), []string{"a 0-10 1", "a 5-15 3", "a 10-20 1"}},
		{"late for all it is late", nil, at("a@7", "a@15", "a@6"), []string{"a 0-10 1", "a 5-15 1", "late a 6"}},
		{
			"a late event fires each window that has its end", func(w *W) { w.AllowedLateness = 10 * ms },
			at("a@7", "a@16", "a@6"),
			[]string{"a 0-10 1", "a 5-15 1", "a 0-10 2 pane 1", "a 5-15 2 pane 1"},
		},
		{
			"a slide that does not divide the size", func(w *W) { w.Windows = window.Sliding(10*ms, 3*ms) },
			at("a@10", "a@40"),
			[]string{"a 3-13 1", "a 6-16 1", "a 9-19 1"},
		},
		{
			"an offset", func(w *W) { w.Windows = window.Sliding(10*ms, 5*ms).Offset(3 * ms) },
			at("a@10", "a@40"),
			[]string{"a 3-13 1", "a 8-18 1"},
		},
	} {
		for _, merge := range []bool{false, true} {
			name := tt.name
			if merge {
				name = tt.name + ", with a Merge"
			}
			t.Run(name, func(t *testing.T) {
				w := counting()
				w.LateTo, w.Windows = "late", window.Hopping(10*ms, 5*ms)
				if merge {
					w.Merge = func(a, b int) (int, error) { return a + b, nil }
				}
				if tt.change != nil {
					tt.change(&w)
				}
				e := newEngine(t, w)
				e.send(tt.send...)
				if got := e.brief(); !slices.Equal(got, tt.want) {
					t.Errorf("published %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestALateEventNamesTheLastWindowItMissed(t *testing.T) {
	w := counting()
	w.LateTo, w.Windows = "late", window.Hopping(10*ms, 5*ms)
	e := newEngine(t, w)
	e.send(at("a@7", "a@20", "a@6")...)
	rows := e.published("late")
	if len(rows) != 1 || rows[0].Headers[1].Value != "1970-01-01T00:00:00.005Z/1970-01-01T00:00:00.015Z" {
		t.Errorf("late %v, want one that names the window from 5 to 15", rows)
	}
}

// Ids differ between results, between what takes them back, and between the count windows of a key.
func TestCountWindowsHaveIdsOfTheirOwn(t *testing.T) {
	w := counting()
	w.Windows, w.Emit, w.Trigger = window.Count(2), handlers.Retracting, handlers.EveryUpdate()
	e := newEngine(t, w)
	e.send(at("a@5", "a@5", "a@5", "a@5")...)
	ids := map[string]bool{}
	var got []string
	for _, r := range results[int](t, e) {
		ids[r.ID] = true
		got = append(got, strings.Repeat("-", len(r.Retract)/32)+string('0'+rune(r.Value)))
	}
	if want := []string{"1", "-1", "2", "1", "-1", "2"}; !slices.Equal(got, want) || len(ids) != 6 {
		t.Errorf("results %q with %d ids, want %q with 6", got, len(ids), want)
	}
}

func results[A any](t *testing.T, e *engine) (out []handlers.Result[A]) {
	for _, row := range e.published("counts") {
		var r handlers.Result[A]
		if err := r.UnmarshalJSON(row.Payload); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// So it is when the state has no schema yet.
func TestAnotherModeOnStoredStateIsRefused(t *testing.T) {
	w := counting()
	e := newEngine(t, noSchema{w})
	e.send(at("a@3")...)
	w.Emit = handlers.Discarding
	e.handler = noSchema{w}
	e.restart()
	err := e.try(at("a@4")...)
	if err == nil || !strings.Contains(err.Error(), "fire at the end, accumulating") || !strings.Contains(err.Error(), "another Name") {
		t.Errorf("err = %v, want one that names the stored mode and the way out", err)
	}
}

func TestSettingsOfTriggersAreChecked(t *testing.T) {
	w := counting()
	w.Trigger, w.Emit, w.Windows = handlers.EveryN(0), 7, window.Sliding(ms, 2*ms)
	err := w.Validate()
	for _, want := range []string{"EveryN has 0", "EmitMode(7)", "would be in none"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, does not mention %q", err, want)
		}
	}
}

func TestCountsOfEveryTask(t *testing.T) {
	w := counting()
	w.Stats, w.Emit, w.Trigger = new(handlers.Stats), handlers.Retracting, handlers.EveryUpdate()
	e := newEngine(t, w)
	e.send(at("a@3", "a@4", "a@15", "a@5")...)
	want := handlers.Counts{Folded: 3, Late: 1, Fired: 3, Retracted: 1, Open: 1, Watermark: 14}
	got := w.Stats.Tasks()
	if id := (stateful.TaskID{App: "test", Handler: "counts"}); len(got) != 1 || got[id] != want || w.Stats.Read() != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}
