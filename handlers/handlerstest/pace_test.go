package handlerstest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

type tick int64 // milliseconds

// perTen counts in windows of 10 ms.
func perTen() handlers.Window[tick, int] {
	return handlers.Window[tick, int]{
		Name: "ticks", From: "ticks", To: "counts", LateTo: "late",
		Key: func(tick) string { return "k" }, Time: func(at tick) time.Time { return time.UnixMilli(int64(at)) },
		Windows: window.Tumbling(10 * time.Millisecond), MaxDelay: 2 * time.Millisecond,
		Fold: func(n int, _ tick) (int, error) { return n + 1, nil },
	}
}

// wantCounts compares the results with "start: count", flushed ones with " flushed" behind.
func wantCounts(t *testing.T, d *handlerstest.Driver, want ...string) {
	t.Helper()
	var got []string
	for _, r := range handlerstest.Results[int](d, "counts") {
		s := fmt.Sprintf("%d: %d", r.Window.Start.UnixMilli(), r.Value)
		if r.Flushed {
			s += " flushed"
		}
		got = append(got, s)
	}
	if !slices.Equal(got, want) {
		t.Errorf("results are %q, want %q", got, want)
	}
}

func wantLate(t *testing.T, d *handlerstest.Driver, want ...string) {
	t.Helper()
	if got := d.Emitted("late"); !slices.Equal(got, want) {
		t.Errorf("late are %q, want %q", got, want)
	}
}

// Vector 26.
func TestVector26(t *testing.T) {
	w := perTen()
	w.FlushAfter = 5 * time.Second
	d := handlerstest.New(t, w)
	d.Send(tick(3))
	d.Advance(5*time.Second - time.Millisecond)
	wantCounts(t, d)
	d.Advance(time.Millisecond)
	wantCounts(t, d, "0: 1 flushed")
	d.Send(tick(4))
	wantLate(t, d, "4")
	d.Send(tick(13), tick(25))
	d.Advance(time.Hour)
	wantCounts(t, d, "0: 1 flushed", "10: 1", "20: 1 flushed")
}

func TestFlushAfter(t *testing.T) {
	const off = -1
	for _, tt := range []struct {
		name     string
		own      time.Duration
		config   time.Duration
		lateness time.Duration
		steps    func(d *handlerstest.Driver)
		want     []string
		late     []string
	}{
		{
			name:  "without it the clock closes nothing",
			steps: func(d *handlerstest.Driver) { d.Send(tick(3)); d.Advance(24 * time.Hour) },
		},
		{
			name: "the processor's configuration gives the default", config: time.Second,
			steps: func(d *handlerstest.Driver) { d.Send(tick(3)); d.Advance(time.Second) },
			want:  []string{"0: 1 flushed"},
		},
		{
			name: "a handler may be without it", config: time.Second, own: off,
			steps: func(d *handlerstest.Driver) { d.Send(tick(3)); d.Advance(time.Hour) },
		},
		{
			name: "silence is by arrival: an event of old time ends it", own: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3))
				d.Advance(600 * time.Millisecond)
				d.Send(tick(1))
				d.Advance(600 * time.Millisecond)
			},
		},
		{
			name: "so does one that is poison", own: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3))
				d.Advance(600 * time.Millisecond)
				d.Send([]byte("poison"))
				d.Advance(600 * time.Millisecond)
			},
		},
		{
			name: "a restart begins the silence anew", own: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3))
				d.Advance(600 * time.Millisecond)
				d.Restart()
				d.Advance(600 * time.Millisecond)
			},
		},
		{
			name: "all that is open fires once, in order, and is forgotten", own: time.Second, lateness: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3), tick(12), tick(31), tick(32))
				d.Advance(time.Second)
				d.Advance(time.Hour)
				d.Send(tick(39))
			},
			want: []string{"0: 1", "10: 1", "30: 2 flushed"},
			late: []string{"39"},
		},
		{
			name: "what fired before does not fire again", own: time.Second, lateness: 5 * time.Millisecond,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3), tick(12)) // [0,10) has fired and still takes events
				d.Advance(time.Second)
				d.Send(tick(9))
			},
			want: []string{"0: 1", "10: 1 flushed"},
			late: []string{"9"},
		},
		{
			name: "the end of the input marks nothing", own: time.Second,
			steps: func(d *handlerstest.Driver) { d.Send(tick(3)); d.End() },
			want:  []string{"0: 1"},
		},
		{
			name: "a crash keeps the decision", own: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3))
				d.CrashAt(handlerstest.AfterCommit)
				d.Advance(time.Second)
				d.Send(tick(4))
			},
			want: []string{"0: 1 flushed"},
			late: []string{"4"},
		},
		{
			name: "what crashed before the commit was not decided", own: time.Second,
			steps: func(d *handlerstest.Driver) {
				d.Send(tick(3))
				d.CrashAt(handlerstest.BeforeCommit)
				d.Advance(time.Second)
				d.Send(tick(4))
				d.Advance(time.Second)
			},
			want: []string{"0: 2 flushed"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := perTen()
			w.FlushAfter, w.AllowedLateness = tt.own, tt.lateness
			if w.MaxDelay = 2 * time.Millisecond; tt.lateness == 5*time.Millisecond {
				w.MaxDelay = 0
			}
			d := handlerstest.New(t, w, handlerstest.Configure(func(c *stateful.Config) { c.Pace.FlushAfter = tt.config }))
			tt.steps(d)
			wantCounts(t, d, tt.want...)
			wantLate(t, d, tt.late...)
		})
	}
}

// The firings of a flush are in as many commits as the limits ask for, and a crash at any of them changes
// nothing: each window fires once, and all are marked.
func TestFlushOverSeveralCommits(t *testing.T) {
	w := perTen()
	w.FlushAfter, w.MaxDelay = time.Second, time.Second
	var events []any
	var want []string
	for i := range 10 {
		events = append(events, tick(10*i))
		want = append(want, fmt.Sprintf("%d: 1 flushed", 10*i))
	}
	for _, p := range handlerstest.Points {
		for n := range 8 {
			t.Run(fmt.Sprint(p, n), func(t *testing.T) {
				d := handlerstest.New(t, w, handlerstest.Configure(func(c *stateful.Config) { c.Limits.CommitRows = 4 }))
				d.Send(events...)
				d.CrashAtNth(p, n+1)
				d.Advance(time.Second)
				d.Advance(time.Second) // the decision may have been lost
				wantCounts(t, d, want...)
			})
		}
	}
}

// wider is a window handler with more inputs, of which nothing is ever heard.
type wider struct {
	handlers.Window[visit, int]
	more []string
	pace stateful.Pace
}

func (w wider) Inputs() []string       { return append([]string{w.From}, w.more...) }
func (w wider) Pace() stateful.Pace    { return w.pace }
func (w wider) HandlerName() string    { return w.Name }
func (w wider) KeysFollowSource() bool { return true }

// outputs are all there are but dead letters, of one partition.
func outputs(d *handlerstest.Driver) []string {
	var lines []string
	for _, topic := range []string{"counts", "late"} {
		for _, line := range d.Emitted(topic) {
			lines = append(lines, topic+": "+line)
		}
	}
	return lines
}

// Idle inputs and idle partitions added change no output.
func TestIdleInputsAndPartitionsChangeNothing(t *testing.T) {
	events := visits(600)
	d := handlerstest.New(t, perMinute(), handlerstest.StartAt(noon))
	d.Send(events...)
	live := outputs(d)
	d.End()
	want := outputs(d)
	if len(live) < 20 || len(want) <= len(live) {
		t.Fatalf("the workload shows nothing: %d outputs, %d at the end", len(live), len(want))
	}
	idle := stateful.Pace{IdleAfter: 5 * time.Second}
	t.Run("inputs", func(t *testing.T) {
		for _, restart := range []bool{false, true} {
			d := handlerstest.New(t, wider{perMinute(), []string{"silent", "mute"}, idle}, handlerstest.StartAt(noon))
			d.Advance(5 * time.Second)
			for i := 0; i < len(events); i += 100 {
				d.Send(events[i : i+100]...)
				d.Advance(time.Minute)
				if restart {
					d.Restart()
				}
			}
			if got := outputs(d); !slices.Equal(got, live) {
				t.Errorf("restart=%v: there are %d outputs, want %d", restart, len(got), len(live))
			}
			d.End()
			if got := outputs(d); !slices.Equal(got, want) {
				t.Errorf("restart=%v: at the end there are %d outputs, want %d", restart, len(got), len(want))
			}
		}
	})
	t.Run("inputs that are not yet idle close nothing", func(t *testing.T) {
		d := handlerstest.New(t, wider{perMinute(), []string{"silent"}, idle}, handlerstest.StartAt(noon))
		d.Advance(5*time.Second - time.Millisecond)
		d.Send(events...)
		if got := outputs(d); len(got) > 0 {
			t.Errorf("there are %d outputs, want none before the silent input is idle", len(got))
		}
	})
	t.Run("partitions", func(t *testing.T) {
		d := handlerstest.New(t, perMinute(), handlerstest.StartAt(noon), handlerstest.Configure(func(c *stateful.Config) { c.Pace = idle }))
		for n := range int32(3) {
			d.OnPartition(n + 1).Send()
		}
		for i := 0; i < len(events); i += 100 {
			d.Send(events[i : i+100]...)
			d.Advance(time.Minute)
		}
		if got := outputs(d); !slices.Equal(got, live) {
			t.Errorf("there are %d outputs, want %d", len(got), len(live))
		}
	})
}

// However fast an input is replayed, the outputs are the same, as long as the clock decides nothing.
func TestSpeedOfReplayChangesNothing(t *testing.T) {
	events := visits(600)
	var want []string
	for _, step := range []time.Duration{0, time.Millisecond, time.Second, 24 * time.Hour} {
		for _, chunk := range []int{1, 50} {
			// A record's own time bounds its event's, so it stays what it was at the first time.
			d := handlerstest.New(t, perMinute(), handlerstest.StartAt(noon), handlerstest.Configure(func(c *stateful.Config) {
				c.Limits.Future = 10 * 365 * 24 * time.Hour
			}))
			for i := 0; i < len(events); i += chunk {
				d.Send(events[i : i+chunk]...)
				d.Advance(step)
			}
			d.End()
			got := outputs(d)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Errorf("at %v for every %d records there are %d outputs, want %d", step, chunk, len(got), len(want))
			}
		}
	}
}
