package handlers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

func TestWindow(t *testing.T) {
	const ms = time.Millisecond
	type W = handlers.Window[event, int]
	for _, tt := range []struct {
		name   string
		change func(*W)
		send   []event
		want   []string
	}{
		{"an open window is silent", nil, at("a@5"), nil},
		{"the watermark at the last millisecond closes it", nil, at("a@5", "a@10"), []string{"a 0-10 1"}},
		{"one millisecond before nothing closes", nil, at("a@5", "a@9"), nil},
		{"vector 1: an event on the edge is in the next window", nil, at("a@9", "a@10", "a@20"), []string{"a 0-10 1", "a 10-20 1"}},
		{"vector 2: before 1970 windows are rounded down", nil, at("a@-1", "a@0"), []string{"a -10-0 1"}},
		{
			"vector 3: an offset moves the grid", func(w *W) { w.Windows = window.Tumbling(10 * ms).Offset(3 * ms) },
			at("a@2", "a@3", "a@13"),
			[]string{"a -7-3 1", "a 3-13 1"},
		},
		{"vector 11: an event of a closed window is late", nil, at("a@3", "a@10", "a@5"), []string{"a 0-10 1", "late a 5"}},
		{"vector 12: an event of an open window is not", nil, at("a@3", "a@9", "a@5", "a@10"), []string{"a 0-10 3"}},
		{
			"vector 13: within the lateness the window fires again", func(w *W) { w.AllowedLateness = 5 * ms },
			at("a@3", "a@14", "a@5"),
			[]string{"a 0-10 1", "a 0-10 2 pane 1"},
		},
		{
			"vector 13: when the lateness has passed it is late", func(w *W) { w.AllowedLateness = 5 * ms },
			at("a@3", "a@15", "a@5"),
			[]string{"a 0-10 1", "late a 5"},
		},
		{
			"vector 16: at the bound an event is on time", func(w *W) { w.MaxDelay, w.Windows = 20*ms, window.Tumbling(ms) },
			at("a@100", "a@80"), nil,
		},
		{
			"vector 16: one millisecond further it is late", func(w *W) { w.MaxDelay, w.Windows = 20*ms, window.Tumbling(ms) },
			at("a@100", "a@79"),
			[]string{"late a 79"},
		},
		{
			"vector 23: a jump over three windows fires them in order of their ends", nil,
			at("b@5", "a@15", "b@25", "a@99"),
			[]string{"b 0-10 1", "a 10-20 1", "b 20-30 1"},
		},
		{
			"vector 23: in one jump", func(w *W) { w.MaxDelay = 30 * ms },
			at("b@25", "a@15", "b@5", "a@6", "a@99"),
			[]string{"a 0-10 1", "b 0-10 1", "a 10-20 1", "b 20-30 1"},
		},
		{
			"a late event moves the watermark only if it is the latest", nil, at("a@30", "a@5", "a@39", "a@40"),
			[]string{"late a 5", "a 30-40 2"},
		},
		{
			"a key that first comes when the window has fired fires it", func(w *W) { w.AllowedLateness = 10 * ms },
			at("a@3", "a@12", "b@4", "b@5", "a@6"),
			[]string{"a 0-10 1", "b 0-10 1", "b 0-10 2 pane 1", "a 0-10 2 pane 1"},
		},
		{
			"a window of which nothing was seen in time fires for a late event", func(w *W) { w.AllowedLateness = 10 * ms },
			at("a@19", "a@4", "a@5"),
			[]string{"a 0-10 1", "a 0-10 2 pane 1"},
		},
		{
			"firing does not purge, forgetting does", func(w *W) { w.AllowedLateness = 10 * ms },
			at("a@3", "a@10", "a@4", "a@19", "a@5", "a@20", "a@6"),
			[]string{"a 0-10 1", "a 0-10 2 pane 1", "a 0-10 3 pane 2", "a 10-20 2", "late a 6"},
		},
		{
			"forgetting one window and firing another at one millisecond are two things", func(w *W) { w.AllowedLateness = 10 * ms },
			at("a@3", "a@13", "a@23", "a@33", "a@14"),
			[]string{"a 0-10 1", "a 10-20 1", "a 20-30 1", "late a 14"},
		},
		{"keys that extend each other stay apart", nil, at("ab@1", "a@1", "abc@1", "a@10"), []string{"a 0-10 1", "ab 0-10 1", "abc 0-10 1"}},
		{"the empty key is a key", nil, at("@1", "@2", "a@10"), []string{" 0-10 2"}},
	} {
		for _, restarts := range []bool{false, true} {
			name := tt.name
			if restarts {
				name += ", restarted after every event"
			}
			t.Run(name, func(t *testing.T) {
				w := counting()
				w.LateTo = "late"
				if tt.change != nil {
					tt.change(&w)
				}
				e := newEngine(t, w)
				if restarts {
					for _, ev := range tt.send {
						e.send(ev)
						e.restart()
					}
				} else {
					e.send(tt.send...)
				}
				if got := e.brief(); !slices.Equal(got, tt.want) {
					t.Errorf("published\n%q\nwant\n%q", got, tt.want)
				}
			})
		}
	}
}

func TestTheEndOfInputClosesEveryWindow(t *testing.T) {
	w := counting()
	w.LateTo = "late"
	w.MaxDelay, w.AllowedLateness = time.Hour, time.Hour
	e := newEngine(t, w)
	e.send(at("a@35", "b@5", "a@5")...)
	e.send(at("a@36")...)
	e.end()
	e.send(at("a@37")...)
	want := []string{"a 0-10 1", "b 0-10 1", "a 30-40 2", "late a 37"}
	if got := e.brief(); !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}

func TestAResultIsReadableByAnyone(t *testing.T) {
	w := counting()
	w.Windows = window.Tumbling(time.Minute)
	e := newEngine(t, w)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	e.send(event{Key: `a "b" é` + "\n", At: noon.UnixMilli()}, event{Key: "x", At: noon.Add(time.Minute).UnixMilli()})
	rows := e.published("counts")
	if len(rows) != 1 {
		t.Fatalf("%d results, want 1", len(rows))
	}
	const want = `{"key":"a \"b\" é\n","start":"2026-01-01T12:00:00Z","end":"2026-01-01T12:01:00Z","value":1,"pane":0,"id":"879fcc2861d791d09de8a24cd7398339"}`
	if got := string(rows[0].Payload); got != want {
		t.Errorf("payload\n%s\nwant\n%s", got, want)
	}
	if got, want := string(rows[0].Key), `a "b" é`+"\n"; got != want {
		t.Errorf("message key %q, want %q", got, want)
	}
	if got, want := rows[0].Time, noon.Add(time.Minute).UnixMilli()-1; got != want {
		t.Errorf("message time %d, want the window's last millisecond %d", got, want)
	}
}

func TestALateRecordArrivesAsItCame(t *testing.T) {
	w := counting()
	w.LateTo = "late"
	e := newEngine(t, w)
	e.send(at("a@3", "a@10")...)
	rec := stateful.Record{
		Key: []byte("k"), Value: []byte(`{"Key":"a","At":4}`), Time: 7, Offset: e.offset,
		Headers: []stateful.Header{{Key: "trace", Value: "1"}},
	}
	if err := e.batch([]stateful.Record{rec}, false); err != nil {
		t.Fatal(err)
	}
	rows := e.published("late")
	if len(rows) != 1 {
		t.Fatalf("%d late records, want 1", len(rows))
	}
	got := rows[0]
	if string(got.Key) != "k" || string(got.Payload) != string(rec.Value) || got.Time != 7 {
		t.Errorf("late record %q %q at %d is not the one sent", got.Key, got.Payload, got.Time)
	}
	want := []stateful.Header{
		{Key: handlers.LateReason, Value: "the window and its allowed lateness have passed"},
		{Key: handlers.LateWindow, Value: "1970-01-01T00:00:00Z/1970-01-01T00:00:00.01Z"},
		{Key: handlers.LateWatermark, Value: "1970-01-01T00:00:00.009Z"},
		{Key: "trace", Value: "1"},
	}
	if !slices.Equal(got.Headers, want) {
		t.Errorf("headers %q, want %q", got.Headers, want)
	}
}

func TestWithoutATopicLateRecordsAreCounted(t *testing.T) {
	w := counting()
	w.Stats = new(handlers.Stats)
	e := newEngine(t, w)
	e.send(at("a@3", "a@10", "a@4", "b@5", "a@35")...)
	want := handlers.Counts{Folded: 3, Late: 2, Fired: 2, Open: 1, Watermark: 34}
	if got := w.Stats.Read(); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	e.restart()
	e.send(at("a@36")...)
	want.Folded++
	if got := w.Stats.Read(); got != want {
		t.Errorf("Stats after a restart = %+v, want %+v", got, want)
	}
}
