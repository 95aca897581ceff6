package handlers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// What Where does not take is in no window and no output, and moves the watermark.
func TestWhereFilters(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.Windows
		want    []string
	}{
		{"tumbling", window.Tumbling(10 * ms), []string{"a 0-10 2", "late a 4"}},
		{"sessions", window.Session(5 * ms), []string{"a 3-11 2", "late a 4"}},
		{"of a count", window.Count(2), []string{"a 3-7 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := counting()
			w.Windows, w.LateTo, w.Stats = tt.windows, "late", new(handlers.Stats)
			w.Merge = func(a, b int) (int, error) { return a + b, nil }
			w.Where = func(e event) bool { return e.Key != "b" }
			e := newEngine(t, w)
			e.send(at("a@3", "b@4", "a@6", "b@30", "a@4", "b@4")...)
			if got := e.brief(); !slices.Equal(got, tt.want) {
				t.Errorf("published %q, want %q", got, tt.want)
			}
			if c := w.Stats.Read(); c.Filtered != 3 || c.Folded+c.Late != 3 || c.Watermark != 29 {
				t.Errorf("counts are %+v, want 3 filtered, 3 others, and the watermark 29", c)
			}
		})
	}
}

func TestALateEventSaysWhy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.Windows
		close   func(e *engine)
		late    event
		reason  string
		window  string
	}{
		{
			"the watermark", window.Tumbling(10 * ms), func(e *engine) { e.send(at("a@30")...) },
			event{Key: "a", At: 12},
			handlers.LateByWatermark, "1970-01-01T00:00:00.01Z/1970-01-01T00:00:00.02Z",
		},
		{
			"of windows that overlap, the last", window.Sliding(10*ms, 5*ms), func(e *engine) { e.send(at("a@30")...) },
			event{Key: "a", At: 12},
			handlers.LateByWatermark, "1970-01-01T00:00:00.01Z/1970-01-01T00:00:00.02Z",
		},
		{
			"of a session, its own", window.Session(10 * ms), func(e *engine) { e.send(at("a@30")...) },
			event{Key: "a", At: 12},
			handlers.LateByWatermark, "1970-01-01T00:00:00.012Z/1970-01-01T00:00:00.022Z",
		},
		{
			"silence", window.Tumbling(10 * ms), func(e *engine) { e.send(at("a@3")...); e.silence() },
			event{Key: "a", At: 4},
			handlers.LateByFlush, "1970-01-01T00:00:00Z/1970-01-01T00:00:00.01Z",
		},
		{
			"the watermark, though there was silence", window.Tumbling(10 * ms), func(e *engine) { e.send(at("a@3", "a@20")...); e.silence() },
			event{Key: "a", At: 4},
			handlers.LateByWatermark, "1970-01-01T00:00:00Z/1970-01-01T00:00:00.01Z",
		},
		{
			"the end", window.Tumbling(10 * ms), func(e *engine) { e.send(at("a@3")...); e.end() },
			event{Key: "a", At: 4},
			handlers.LateByEnd, "1970-01-01T00:00:00Z/1970-01-01T00:00:00.01Z",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := counting()
			w.Windows, w.LateTo, w.Stats, w.FlushAfter = tt.windows, "late", new(handlers.Stats), time.Second
			w.Merge = func(a, b int) (int, error) { return a + b, nil }
			now := time.UnixMilli(0)
			e := newEngine(t, w, func(c *stateful.Config) { c.Now = func() time.Time { return now } })
			e.silence = func() {
				for range 2 { // the first tick begins to listen
					if err := e.p.Tick(t.Context(), w.Name); err != nil {
						t.Fatal(err)
					}
					now = now.Add(time.Minute)
				}
				if err := e.p.Tick(t.Context(), w.Name); err != nil {
					t.Fatal(err)
				}
			}
			tt.close(e)
			e.send(tt.late)
			rows := e.published("late")
			if len(rows) != 1 {
				t.Fatalf("%d late events, want 1", len(rows))
			}
			got := map[string]string{}
			for _, h := range rows[0].Headers {
				got[h.Key] = h.Value
			}
			if got[handlers.LateReason] != tt.reason || got[handlers.LateWindow] != tt.window {
				t.Errorf("late because %q, of window %q; want %q, %q", got[handlers.LateReason], got[handlers.LateWindow], tt.reason, tt.window)
			}
			if c := w.Stats.Tasks()[stateful.TaskID{App: "test", Handler: "counts"}]; c.Late != 1 {
				t.Errorf("counts are %+v, want one late", c)
			}
		})
	}
}
