package model_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// step is one line of a script.
type step struct {
	events  []model.Event
	restart bool
	crash   handlerstest.Point // before the events; 0: none
	nth     int
}

// script is what is played on both sides.
type script struct {
	spec  model.Spec
	merge bool // sliding windows are made of slices
	rows  int  // of a commit
	cells int  // decoded entries that may be in memory
	batch int
	steps []step
}

// String is what a failure prints: what one needs to play it by hand.
func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v merge=%v rows=%d cells=%d batch=%d\n", s.spec, s.merge, s.rows, s.cells, s.batch)
	for _, st := range s.steps {
		if st.restart {
			b.WriteString("restart\n")
		}
		if st.crash != 0 {
			fmt.Fprintf(&b, "crash %v nth=%d\n", st.crash, st.nth)
		}
		b.WriteString("send")
		for _, e := range st.events {
			fmt.Fprintf(&b, " %s@%d=%d", e.Key, e.Time, e.Value)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// kinds are those the engine has.
var kinds = []model.Kind{model.Tumbling, model.Sliding, model.Session}

func scripts() *rapid.Generator[script] {
	return rapid.Custom(func(t *rapid.T) script {
		s := script{spec: model.Spec{
			Kind:     rapid.SampledFrom(kinds).Draw(t, "kind"),
			Size:     rapid.Int64Range(1, 20).Draw(t, "size"),
			Offset:   rapid.Int64Range(-7, 7).Draw(t, "offset"),
			Gap:      rapid.Int64Range(1, 12).Draw(t, "gap"),
			N:        rapid.IntRange(1, 4).Draw(t, "n"),
			MaxDelay: rapid.Int64Range(0, 12).Draw(t, "delay"),
			Lateness: rapid.SampledFrom([]int64{0, 0, 1, 5, 30}).Draw(t, "lateness"),
		}}
		s.spec.Slide = rapid.Int64Range(1, s.spec.Size).Draw(t, "slide")
		s.merge = s.spec.Kind == model.Session || rapid.Bool().Draw(t, "merge")
		s.rows = rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(t, "rows")
		s.cells = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "cells")
		s.batch = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "batch")
		at := int64(0)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			st := step{restart: rapid.IntRange(0, 4).Draw(t, "restart") == 1}
			if rapid.IntRange(0, 4).Draw(t, "crashes") == 1 {
				st.crash = rapid.SampledFrom(handlerstest.Points).Draw(t, "crash")
				st.nth = rapid.IntRange(1, 3).Draw(t, "nth")
			}
			for range rapid.IntRange(1, 8).Draw(t, "events") {
				at += rapid.SampledFrom([]int64{0, 1, 1, 2, 3, 5, 9, 25}).Draw(t, "forward")
				st.events = append(st.events, model.Event{
					Key:   rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key"),
					Time:  at - rapid.SampledFrom([]int64{0, 0, 1, 2, 4, 8, 16, 40}).Draw(t, "back"),
					Value: 1 + rapid.Int64Range(0, 1<<40).Draw(t, "value"),
				})
			}
			s.steps = append(s.steps, st)
		}
		return s
	})
}

// outcome is what comes out, in order.
type outcome struct {
	results []model.Result
	late    []string
}

func expected(s script) (o outcome) {
	m := model.New(s.spec)
	for _, st := range s.steps {
		for _, e := range st.events {
			results, late := m.Event(e)
			o.results = append(o.results, results...)
			if late {
				o.late = append(o.late, fmt.Sprintf("%s@%d=%d", e.Key, e.Time, e.Value))
			}
		}
	}
	o.results = append(o.results, m.End()...)
	return o
}

// epoch is time 0 of a script: an hour that is no multiple of its windows would be
// in the way of reading a failure, and the zero time is refused by the engine.
var epoch = time.Unix(0, 0).UTC()

func (s script) windows() window.Windows {
	ms := time.Millisecond
	switch s.spec.Kind {
	case model.Sliding:
		return window.Sliding(time.Duration(s.spec.Size)*ms, time.Duration(s.spec.Slide)*ms).Offset(time.Duration(s.spec.Offset) * ms)
	case model.Session:
		return window.Session(time.Duration(s.spec.Gap) * ms)
	case model.Count:
		return window.Count(s.spec.N)
	}
	return window.Tumbling(time.Duration(s.spec.Size) * ms).Offset(time.Duration(s.spec.Offset) * ms)
}

func (s script) handler() handlers.Window[model.Event, int64] {
	w := handlers.Window[model.Event, int64]{
		Name: "sum", From: "events", To: "sums", LateTo: "late",
		Key:      func(e model.Event) string { return e.Key },
		Time:     func(e model.Event) time.Time { return epoch.Add(time.Duration(e.Time) * time.Millisecond) },
		Windows:  s.windows(),
		MaxDelay: time.Duration(s.spec.MaxDelay) * time.Millisecond, AllowedLateness: time.Duration(s.spec.Lateness) * time.Millisecond,
		Fold: func(sum int64, e model.Event) (int64, error) { return sum + e.Value, nil },
	}
	if s.merge {
		w.Merge = func(a, b int64) (int64, error) { return a + b, nil }
	}
	return w
}

func played(t *rapid.T, s script) (o outcome) {
	d := handlerstest.New(t, s.handler(), handlerstest.StartAt(epoch.Add(time.Hour)), handlerstest.InBatchesOf(s.batch),
		handlerstest.Configure(func(c *stateful.Config) {
			c.Limits.CommitRows, c.Limits.CachedEntries = s.rows, s.cells
		}))
	defer d.Close()
	for _, st := range s.steps {
		if st.restart {
			d.Restart()
		}
		if st.crash != 0 {
			d.CrashAtNth(st.crash, st.nth)
		}
		events := make([]any, len(st.events))
		for i, e := range st.events {
			events[i] = e
		}
		d.Send(events...)
	}
	d.End()
	ids := map[string]int64{}
	for _, r := range handlerstest.Results[int64](d, "sums") {
		if other, ok := ids[r.ID]; ok {
			t.Fatalf("two results have the id %s, with the values %d and %d", r.ID, other, r.Value)
		}
		ids[r.ID] = r.Value
		got := model.Result{Key: r.Key, Value: r.Value}
		if s.spec.Kind != model.Count {
			got.Start, got.End = r.Window.Start.UnixMilli(), r.Window.End.UnixMilli()
		}
		o.results = append(o.results, got)
	}
	for _, line := range d.Emitted("late") {
		var e model.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		o.late = append(o.late, fmt.Sprintf("%s@%d=%d", e.Key, e.Time, e.Value))
	}
	return o
}

// TestEngineIsTheModel plays random scripts on the engine and on the model: kinds of windows, sizes,
// lateness, events out of order, restarts, crashes and commits cut anywhere. 10,000 are
// played; PONDAGE_MODEL_SCRIPTS=100000 plays more.
func TestEngineIsTheModel(t *testing.T) {
	checks := cmp.Or(os.Getenv("PONDAGE_MODEL_SCRIPTS"), "10000")
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := scripts().Draw(t, "script")
		want, got := expected(s), played(t, s)
		if !slices.Equal(got.results, want.results) {
			t.Fatalf("results\n%v\nwant\n%v\nof\n%v", got.results, want.results, s)
		}
		if !slices.Equal(got.late, want.late) {
			t.Fatalf("late\n%v\nwant\n%v\nof\n%v", got.late, want.late, s)
		}
	})
}
