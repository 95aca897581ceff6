package handlers_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

func TestValidateNamesEveryFault(t *testing.T) {
	type W = handlers.Window[event, int]
	const odd = 1500 * time.Microsecond
	for _, tt := range []struct {
		name   string
		change func(*W)
		want   []string // empty: valid
	}{
		{"a complete one is valid", func(*W) {}, nil},
		{
			"everything is missing", func(w *W) { *w = W{Name: "x", From: "a", To: "b"} },
			[]string{"Key is required", "Windows is required", "Fold is required"},
		},
		{"the windows' own faults", func(w *W) { w.Windows = window.Tumbling(odd) }, []string{"window size 1.5ms"}},
		{
			"times below the millisecond", func(w *W) { w.MaxDelay, w.AllowedLateness = odd, odd },
			[]string{"MaxDelay 1.5ms", "AllowedLateness 1.5ms"},
		},
		{
			"negative times", func(w *W) { w.MaxDelay, w.AllowedLateness = -time.Second, -time.Second },
			[]string{"MaxDelay is negative", "AllowedLateness is negative"},
		},
		{"an aggregate beside Fold", func(w *W) { w.Aggregate.Fold = w.Fold }, []string{"set one or the other"}},
		{
			"an output that is the input", func(w *W) { w.To, w.LateTo = w.From, w.From },
			[]string{"To is its own input", "LateTo is its own input"},
		},
		{"late events among the results", func(w *W) { w.LateTo = w.To }, []string{"LateTo is \"counts\" like To"}},
		{
			"no topics and no name", func(w *W) { w.Name, w.From, w.To = "", "", "" },
			[]string{"Name is", "an input topic is empty", "an output topic is empty"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := counting()
			tt.change(&w)
			refused(t, w, tt.want)
		})
	}
	t.Run("a state that cannot be stored", func(t *testing.T) {
		refused(t, handlers.Window[event, chan int]{
			Name: "x", From: "a", To: "b", Key: func(event) string { return "" }, Windows: window.Tumbling(time.Second),
			Fold: func(c chan int, _ event) (chan int, error) { return c, nil },
		}, []string{"State:"})
	})
	t.Run("an aggregate of nothing", func(t *testing.T) {
		refused(t, handlers.Window[event, handlers.Values]{
			Name: "x", From: "a", To: "b", Key: func(event) string { return "" }, Windows: window.Tumbling(time.Second),
			Aggregate: handlers.All(handlers.Sum[event](nil), handlers.Aggregate[event, int]{}),
		}, []string{"part 1 of All: Sum needs a function", "part 2 of All is no ready-made"})
	})
}

func refused(t *testing.T, h stateful.Handler, want []string) {
	t.Helper()
	p, err := stateful.NewProcessor(stateful.Config{App: "test", Backend: memory.New(), Outbox: &sink{}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.AddTo(nil, h)
	if (err == nil) != (len(want) == 0) {
		t.Fatalf("AddTo = %v, want %q", err, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("AddTo = %q, does not mention %q", err, w)
		}
	}
}

func TestARecordThatFailsIsDeadLetteredAlone(t *testing.T) {
	type W = handlers.Window[event, int]
	for _, tt := range []struct {
		name   string
		change func(*W)
		bad    event
		want   string // in the dead letter's reason
	}{
		{"when Fold refuses it", func(w *W) {
			w.Fold = func(n int, e event) (int, error) {
				if e.N == 13 {
					return 0, stateful.Permanent(errors.New("unlucky"))
				}
				return n + 1, nil
			}
		}, event{Key: "b", At: 30, N: 13}, "unlucky"},
		{"when Key panics", func(w *W) {
			w.Key = func(e event) string {
				if e.N == 13 {
					panic("unlucky")
				}
				return e.Key
			}
		}, event{Key: "b", At: 30, N: 13}, "unlucky"},
		{"when its time is zero", func(w *W) {
			w.Time = func(e event) time.Time {
				if e.N == 13 {
					return time.Time{}
				}
				return time.UnixMilli(e.At)
			}
		}, event{Key: "b", N: 13}, "zero time.Time"},
		{"when its time is beyond RFC 3339", nil, event{Key: "b", At: time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()}, "years 1 to 9999"},
		{"when its key is too long", nil, event{Key: strings.Repeat("k", 5000), At: 30}, "Limits.KeyBytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := counting()
			if tt.change != nil {
				tt.change(&w)
			}
			e := newEngine(t, w)
			var err error
			for range 3 { // the third panic is final
				if err = e.try(event{Key: "a", At: 3}, tt.bad, event{Key: "a", At: 4}); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			e.send(at("a@9", "a@10")...)
			got := e.brief()
			if len(got) != 2 || !strings.Contains(got[0], tt.want) || got[1] != "a 0-10 3" {
				t.Errorf("published %q, want a dead letter with %q, then the window unharmed", got, tt.want)
			}
		})
	}
}

func TestARecordThatIsNoEventIsDeadLettered(t *testing.T) {
	e := newEngine(t, counting())
	if err := e.batch([]stateful.Record{{Value: []byte("{")}}, false); err != nil {
		t.Fatal(err)
	}
	if got := e.brief(); len(got) != 1 || !strings.Contains(got[0], "JSON") {
		t.Errorf("published %q, want one dead letter that says what is wrong with the JSON", got)
	}
}

func TestWithoutTimeTheRecordsOwnCounts(t *testing.T) {
	w := counting()
	w.Time = nil
	e := newEngine(t, w)
	e.send(at("a@3", "a@10")...)
	if err := e.batch([]stateful.Record{{Value: []byte(`{"Key":"b"}`), Time: stateful.NoTime, Offset: e.offset}}, false); err != nil {
		t.Fatal(err)
	}
	got := e.brief()
	if len(got) != 2 || got[0] != "a 0-10 1" || !strings.Contains(got[1], "set Time") {
		t.Errorf("published %q, want a result and a dead letter that says to set Time", got)
	}
}

// F4: a key may have so many open windows and no more; other keys go on.
func TestOpenWindowsOfAKeyAreLimited(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := counting()
		w.MaxDelay = time.Second
		e := newEngine(t, w, func(c *stateful.Config) { c.Limits.WindowsPerKey = 3 })
		e.send(at("a@1", "a@11", "a@21")...)
		if restart {
			e.restart()
		}
		e.send(at("b@31", "b@1", "a@41", "a@22", "b@42", "b@51", "a@2", "c@2000", "a@2001")...)
		e.end()
		got := e.brief()
		dead := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, "dead:") })
		if len(dead) != 2 || !strings.Contains(dead[0], `key "a" has 3 open windows`) || !strings.Contains(dead[1], `key "b" has 3`) {
			t.Errorf("restart %t: dead letters %q, want one of each key", restart, dead)
		}
		want := []string{"a 0-10 2", "b 0-10 1", "a 10-20 1", "a 20-30 2", "b 30-40 1", "b 40-50 1", "a 2000-2010 1", "c 2000-2010 1"}
		if results := slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "dead:") }); !slices.Equal(results, want) {
			t.Errorf("restart %t: results %q, want %q", restart, results, want)
		}
	}
}

// T9: a firing that fails for good is dead-lettered with its key and time, and the others go on.
func TestAFiringThatFailsIsDeadLettered(t *testing.T) {
	w := counting()
	w.Encode = func(r handlers.Result[int]) (any, error) {
		if r.Key == "b" {
			return nil, stateful.Permanent(errors.New("no b"))
		}
		return r, nil
	}
	e := newEngine(t, w)
	e.send(at("b@3", "a@4", "c@5", "a@10", "b@6")...)
	got := e.brief()
	if len(got) != 3 || got[0] != "a 0-10 1" || !strings.Contains(got[1], "no b") || got[2] != "c 0-10 1" {
		t.Errorf("published %q, want a, a dead letter of b, c", got)
	}
}

func TestEncodeAndOutReplaceTheShape(t *testing.T) {
	w := counting()
	w.Encode = func(r handlers.Result[int]) (any, error) { return r.Key + "!", nil }
	w.Out = stateful.RawCodec{}
	e := newEngine(t, w)
	e.send(at("a@3", "a@10")...)
	if rows := e.published("counts"); len(rows) != 1 || string(rows[0].Payload) != "a!" || string(rows[0].Key) != "a" {
		t.Errorf("published %v, want a!", rows)
	}
	w = counting()
	w.Out = stateful.JSONCodec{}
	byCodec := newEngine(t, w)
	byHand := newEngine(t, counting())
	for _, e := range []*engine{byCodec, byHand} {
		e.send(at("<é>@3", "a@1234567890123")...)
	}
	if a, b := byCodec.published("counts")[0].Payload, byHand.published("counts")[0].Payload; string(a) != string(b) {
		t.Errorf("JSON by codec\n%s\nby hand\n%s", a, b)
	}
}

// partitioned is a source of two partitions that tells how it spreads keys.
type partitioned struct{ stateful.Source }

func (partitioned) Traits() stateful.SourceTraits {
	return stateful.SourceTraits{Position: true, Seek: true, Partitions: 2, Partitioner: stateful.Murmur2Partitioner}
}

// O4: a key whose records come from a partition that is not its own stops the
// processor, unless the user promised that it is right so.
func TestAKeyMustFollowThePartitions(t *testing.T) {
	var here, there string // of partition 0 and of partition 1
	for _, k := range []string{"a", "b", "c", "d", "e", "f"} {
		if stateful.Murmur2Partitioner([]byte(k), 2) == 0 {
			here = k
		} else {
			there = k
		}
	}
	for _, promised := range []bool{false, true} {
		w := counting()
		w.PartitionedBySource = promised
		e := newEngine(t, w, func(c *stateful.Config) { c.Source = partitioned{} })
		e.send(event{Key: here, At: 1})
		err := e.try(event{Key: there, At: 2})
		if promised != (err == nil) || err != nil && !strings.Contains(err.Error(), "PartitionedBySource") {
			t.Errorf("promised %t: err = %v, want a refusal that tells the ways out only without the promise", promised, err)
		}
		if !promised && e.p.Ready() == nil {
			t.Error("the processor goes on after a key of another partition")
		}
	}
}
