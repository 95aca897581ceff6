package handlers_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// T8 and the rules of triggers, for sessions of a gap of 5 ms. A value lists the numbers of its events, which
// are those of the script.
func TestTriggersOfSessions(t *testing.T) {
	type W = handlers.Window[event, string]
	retract := func(w *W) { w.Emit = handlers.Retracting }
	for _, tt := range []struct {
		name   string
		change func(*W)
		send   []event
		want   []string
	}{
		{
			"a session that grows takes its last result back at once",
			func(w *W) { retract(w); w.Trigger = handlers.EveryN(2) }, at("a@0", "a@1", "a@2", "a@3"),
			[]string{`a 0-6 "0 1 " pane 0`, `back a 0-6 "0 1 " pane 0`, `a 0-8 "0 1 2 3 " pane 0`},
		},
		{
			"one that does not grow gives its next result behind what it takes back",
			func(w *W) { retract(w); w.Trigger = handlers.EveryUpdate() }, at("a@0", "a@0"),
			[]string{`a 0-5 "0 " pane 0`, `back a 0-5 "0 " pane 0`, `a 0-5 "0 1 " pane 1`},
		},
		{
			"every session that is joined takes its last result back",
			func(w *W) { retract(w); w.AllowedLateness = 30 * ms }, at("a@0", "a@0", "a@8", "b@20", "a@16", "a@0", "a@4", "a@12"),
			[]string{
				`a 0-5 "0 1 " pane 0`, `a 8-13 "2 " pane 0`,
				`back a 0-5 "0 1 " pane 0`, `a 0-5 "0 1 5 " pane 1`,
				`back a 0-5 "0 1 5 " pane 1`, `back a 8-13 "2 " pane 0`, `a 0-13 "0 1 5 2 6 " pane 0`,
				`back a 0-13 "0 1 5 2 6 " pane 0`,
			},
		},
		{
			"by the default mode nothing is taken back, and the window is a new one",
			func(w *W) { w.Trigger = handlers.EveryUpdate() }, at("a@0", "a@0", "a@1", "a@1"),
			[]string{`a 0-5 "0 " pane 0`, `a 0-5 "0 1 " pane 1`, `a 0-6 "0 1 2 " pane 0`, `a 0-6 "0 1 2 3 " pane 1`},
		},
		{
			"results that are discarded add up over windows that become one",
			func(w *W) { w.Emit, w.AllowedLateness, w.MaxDelay = handlers.Discarding, 30*ms, 0 }, at("a@0", "b@6", "a@5", "b@11", "a@10", "b@17"),
			[]string{`a 0-5 "0 " pane 0`, `a 0-10 "2 " pane 0`, `a 0-15 "4 " pane 0`, `b 6-16 "1 3 " pane 0`},
		},
		{
			"the counts of sessions that become one are added up",
			func(w *W) { w.Trigger, w.MaxDelay = handlers.EveryN(3), 20*ms }, at("a@0", "a@10", "a@5"),
			[]string{`a 0-15 "0 1 2 " pane 0`},
		},
		{
			"of the times of the clock the earlier counts",
			func(w *W) { w.Trigger, w.MaxDelay = handlers.Every(4*ms), 20*ms }, at("a@0", "tick@1", "a@10", "tick@1", "a@5", "tick@1", "tick@1", "a@5", "tick@9"),
			[]string{`a 0-15 "0 2 4 " pane 0`, `a 0-15 "0 2 4 7 " pane 1`},
		},
		{
			"what was asked for a session that is now another's is forgotten",
			func(w *W) { w.Trigger, w.MaxDelay = handlers.Every(4*ms), 20*ms }, at("a@10", "tick@2", "a@7", "tick@2", "a@7", "tick@4"),
			[]string{`a 7-15 "0 2 " pane 0`, `a 7-15 "0 2 4 " pane 1`},
		},
		{
			"final only gives what is there when no more is taken",
			func(w *W) { w.Trigger, w.AllowedLateness = handlers.FinalOnly(), 5*ms }, at("a@0", "b@8", "a@1", "b@10", "b@11"),
			[]string{`a 0-6 "0 2 " pane 0`},
		},
		{
			"a trigger of your own has both clocks and may purge",
			func(w *W) { w.Trigger, w.AllowedLateness = own{3 * ms}, 5*ms }, at("a@0", "b@4", "a@1", "tick@3", "a@2"),
			[]string{`a 0-5 "0 " pane 0`, `a 0-6 "0 2 " pane 0`, `b 4-9 "1 " pane 0`, `a 0-7 "0 2 4 " pane 0`},
		},
		{
			"which is told that the session has ended when the watermark has jumped over its end",
			func(w *W) { w.Trigger = own{1 * ms} }, at("a@0", "b@20"),
			[]string{`a 0-5 "0 " pane 0`},
		},
	} {
		for _, restarts := range []bool{false, true} {
			name := tt.name
			if restarts {
				name += ", restarted after every event"
			}
			t.Run(name, func(t *testing.T) {
				now := time.UnixMilli(1000)
				w := setting{kind: "session", size: 5}.handler()
				w.Merge = func(a, b string) (string, error) { return a + b, nil }
				tt.change(&w)
				e := newEngine(t, w, func(c *stateful.Config) { c.Now = func() time.Time { return now } })
				for i, ev := range tt.send {
					if ev.Key == "tick" {
						now = now.Add(time.Duration(ev.At) * ms)
						if err := e.p.Tick(t.Context(), "lists"); err != nil {
							t.Fatal(err)
						}
						continue
					}
					ev.N = float64(i)
					e.send(ev)
					if restarts {
						e.restart()
						if err := e.batch(nil, false); err != nil {
							t.Fatal(err)
						}
					}
				}
				if got := e.long(); !slices.Equal(got, tt.want) {
					t.Errorf("published\n%q\nwant\n%q", got, tt.want)
				}
			})
		}
	}
}

// FlushTo is the end of the session that lasts longest, and its lateness; records that failed count for nothing.
func TestSessionsSayWhatAFlushWouldClose(t *testing.T) {
	w := setting{kind: "session", size: 5}.handler()
	w.Merge = func(a, b string) (string, error) { return a + b, nil }
	w.MaxDelay, w.AllowedLateness = 20*ms, 7*ms
	w.Fold = func(list string, e event) (string, error) {
		if e.Key == "bad" {
			return "", stateful.Permanent(context.DeadlineExceeded)
		}
		return list, nil
	}
	w.Where = func(e event) bool { return e.Key != "not" }
	p := &peek{Window: w}
	e := newEngine(t, p)
	for _, tt := range []struct {
		send string
		want int64
	}{
		{"bad@50", window.Never},
		{"a@0", 11},
		{"not@15", 11},
		{"a@-3", 11},
		{"bad@60", 11},
		{"b@30", 41},
		{"a@2", 41},
		{"c@31", 42},
		{"c@10", 42},
		{"c@100", 111},
		{"not@105", 111},
		{"c@101", 112},
	} {
		e.send(at(tt.send)...)
		for range 2 {
			if got := p.task.FlushTo(); got != tt.want {
				t.Errorf("after %s FlushTo is %d, want %d", tt.send, got, tt.want)
			}
			e.restart()
			if err := e.batch(nil, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.end()
	if got := p.task.FlushTo(); got != window.Never {
		t.Errorf("with nothing open FlushTo is %d", got)
	}
}

// So it is for windows of a fixed size, of which one that a failed record opened is still in memory.
func TestWindowsSayWhatAFlushWouldClose(t *testing.T) {
	w := setting{kind: "tumbling", size: 10, lateness: 7}.handler()
	w.Fold = func(list string, e event) (string, error) {
		if e.Key == "bad" {
			return "", stateful.Permanent(context.DeadlineExceeded)
		}
		return list, nil
	}
	p := &peek{Window: w}
	e := newEngine(t, p)
	for _, tt := range []struct {
		send string
		want int64
	}{
		{"bad@50", window.Never},
		{"a@0", 16},
		{"bad@60", 16},
		{"a@-3", 16},
		{"b@12", 26},
	} {
		e.send(at(tt.send)...)
		if got := p.task.FlushTo(); got != tt.want {
			t.Errorf("after %s FlushTo is %d, want %d", tt.send, got, tt.want)
		}
	}
}

// peek keeps the instance that a task was given.
type peek struct {
	handlers.Window[event, string]
	task stateful.Flusher
}

func (p *peek) Instance(ctx context.Context, t *stateful.Task) (stateful.Handler, error) {
	h, err := p.Window.Instance(ctx, t)
	p.task, _ = h.(stateful.Flusher)
	return h, err
}

// However sessions are joined, what stands at the end is one result for each: those taken back are those
// that were given.
func TestRetractedSessionsAddUp(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := visits()
		w.LateTo = ""
		w.Emit, w.AllowedLateness, w.MaxDelay = handlers.Retracting, time.Hour, 10*ms
		if seed%2 == 0 {
			w.Trigger = handlers.EveryN(2)
		}
		e := newEngine(t, w)
		sent := 0
		for range 60 {
			e.send(event{Key: string(rune('a' + r.IntN(3))), At: r.Int64N(200)})
			sent++
		}
		e.end()
		standing, sum := map[string]int{}, 0
		for _, row := range e.published("counts") {
			var res handlers.Result[int]
			if err := res.UnmarshalJSON(row.Payload); err != nil {
				t.Fatal(err)
			}
			if res.Retract == "" {
				standing[res.ID] = res.Value
				continue
			}
			if was, ok := standing[res.Retract]; !ok || was != res.Value {
				t.Fatalf("seed %d: %s takes back what is not there", seed, row.Payload)
			}
			delete(standing, res.Retract)
		}
		for _, n := range standing {
			sum += n
		}
		if sum != sent {
			t.Errorf("seed %d: the results that stand add up to %d of %d events", seed, sum, sent)
		}
	}
}
