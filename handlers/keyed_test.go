package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
)

// order is an event of the tests: what to do with the state of its key.
type order struct {
	Key string
	At  int64 // ms
	Do  string
	Arg string
}

// After silence the timers fire, those that are set meanwhile only once more has come.
func TestTimersFireAfterSilence(t *testing.T) {
	k := handlers.Keyed[order, int]{
		Name: "clerk", From: "orders", To: "said", FlushAfter: 5 * time.Second,
		Key: func(o order) string { return o.Key }, Time: func(o order) time.Time { return time.UnixMilli(o.At) },
		OnEvent: func(_ context.Context, c *handlers.Context[int], _ order) error {
			return c.SetTimer(stateful.EventTime, c.Time().Add(10*time.Millisecond), "")
		},
		OnTimer: func(_ context.Context, c *handlers.Context[int], tm stateful.Timer) error {
			err := c.SetTimer(stateful.EventTime, c.Time().Add(time.Second), "")
			return errors.Join(err, c.Emit(fmt.Sprintf("%s %d %v", c.Key, tm.Time, c.Tx.Flushing())))
		},
	}
	d := handlerstest.New(t, k)
	var want []string
	check := func(more ...string) {
		t.Helper()
		for _, m := range more {
			want = append(want, strconv.Quote(m))
		}
		if got := d.Emitted("said"); !slices.Equal(got, want) {
			t.Fatalf("said %q, want %q", got, want)
		}
	}
	d.Send(order{Key: "a", At: 1}, order{Key: "b", At: 5})
	d.Advance(5*time.Second - time.Millisecond)
	check()
	d.Advance(time.Millisecond)
	check("a 11 true", "b 15 true")
	d.Advance(time.Minute)
	check() // though there are timers at 1,011 and 1,015
	d.Send(order{Key: "a", At: 2})
	check("a 12 false") // its time had passed
	d.Advance(5 * time.Second)
	check("a 1011 true", "a 1012 true", "b 1015 true")

	k.FlushAfter = -1
	off := handlerstest.New(t, k, handlerstest.Configure(func(c *stateful.Config) { c.Pace.FlushAfter = time.Second }))
	off.Send(order{Key: "a", At: 1})
	off.Advance(time.Hour)
	if got := off.Emitted("said"); len(got) > 0 {
		t.Errorf("said %q, and FlushAfter is off", got)
	}
}

var notes = stateful.List[string]{Name: "notes"}

// Parts of a millisecond are rounded up, before 1970 too: a timer does not ring too early.
func TestTimersOfAKeyedAreRoundedUp(t *testing.T) {
	const us = time.Microsecond
	for _, tt := range []struct {
		after time.Duration // since 1970
		want  int64
	}{{2000 * us, 2}, {2001 * us, 3}, {2999 * us, 3}, {-2000 * us, -2}, {-2001 * us, -2}, {-1999 * us, -1}} {
		var got int64
		k := handlers.Keyed[order, int]{
			Name: "clerk", From: "orders",
			Key: func(o order) string { return o.Key }, Time: func(o order) time.Time { return time.UnixMilli(o.At) },
			OnEvent: func(_ context.Context, c *handlers.Context[int], o order) error {
				if o.At > 0 {
					return nil
				}
				return c.SetTimer(stateful.EventTime, time.UnixMilli(0).Add(tt.after), "")
			},
			OnTimer: func(_ context.Context, _ *handlers.Context[int], tm stateful.Timer) error {
				got = tm.Time
				return nil
			},
		}
		handlerstest.New(t, k).Send(order{Key: "a", At: -10}, order{Key: "a", At: 10})
		if got != tt.want {
			t.Errorf("a timer at %v rang at %d ms, want %d", tt.after, got, tt.want)
		}
	}
}

// clerk does as it is told, and says what it sees.
func clerk() handlers.Keyed[order, string] {
	return handlers.Keyed[order, string]{
		Name: "clerk", From: "orders", To: "said", SideTo: []string{"aside"},
		Key:     func(o order) string { return o.Key },
		Time:    func(o order) time.Time { return time.UnixMilli(o.At) },
		States:  []stateful.State{&notes},
		OnEvent: obey,
		OnTimer: func(_ context.Context, c *handlers.Context[string], t stateful.Timer) error {
			s, _ := c.Get()
			if t.Namespace == "clear" {
				c.Delete()
			}
			return c.Emit(fmt.Sprintf("%s %s at %d: %q", c.Key, t.Namespace, c.Time().UnixMilli(), s))
		},
	}
}

func obey(ctx context.Context, c *handlers.Context[string], o order) error {
	at := func() time.Time {
		var ms int64
		_, _ = fmt.Sscan(o.Arg, &ms)
		return time.UnixMilli(ms)
	}
	switch o.Do {
	case "put":
		c.Put(o.Arg)
	case "putfail":
		c.Put(o.Arg)
		if err := errors.Join(notes.Append(ctx, c.Scope, o.Arg), c.Emit("never"), c.SetTimer(stateful.EventTime, c.Time(), "never")); err != nil {
			return err
		}
		return stateful.Permanent(errors.New("as asked"))
	case "putdelete":
		c.Put(o.Arg)
		c.Delete()
	case "delete":
		c.Delete()
	case "note":
		return notes.Append(ctx, c.Scope, o.Arg)
	case "get":
		s, ok := c.Get()
		var all []string
		for n, err := range notes.All(ctx, c.Scope) {
			if err != nil {
				return err
			}
			all = append(all, n)
		}
		return c.Emit(fmt.Sprintf("%s %q %v %v late=%v", c.Key, s, ok, all, !c.Time().After(c.Watermark())))
	case "event":
		return c.SetTimer(stateful.EventTime, at(), "event")
	case "event2":
		return errors.Join(c.SetTimer(stateful.EventTime, at(), "a"), c.SetTimer(stateful.EventTime, at(), "b"), c.SetTimer(stateful.EventTime, at(), "b"))
	case "clear":
		return c.SetTimer(stateful.EventTime, at(), "clear")
	case "forget":
		c.DeleteTimer(stateful.EventTime, at(), "event")
	case "clock":
		return c.SetTimer(stateful.ProcessingTime, c.Now().Add(time.Hour), "clock")
	case "aside":
		return c.EmitTo("aside", o.Arg)
	case "elsewhere":
		return c.EmitTo("elsewhere", o.Arg)
	}
	return nil
}

// orders makes events of words: "ana@5 put x".
func orders(lines ...string) []any {
	var out []any
	for _, l := range lines {
		words := append(strings.Fields(l), "", "")
		e := at(words[0])[0]
		out = append(out, order{e.Key, e.At, words[1], words[2]})
	}
	return out
}

func TestKeyed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		steps []string
		want  []string
	}{
		{
			"each key has its own state", 0,
			[]string{"a@1 get", "a@1 put x", "b@1 put y", "a@1 get", "b@1 get", "a@1 delete", "a@1 get"},
			[]string{`a "" false [] late=false`, `a "x" true [] late=false`, `b "y" true [] late=false`, `a "" false [] late=false`},
		},
		{"the last word counts", 0, []string{"a@1 put x", "a@1 putdelete y", "a@1 get"}, []string{`a "" false [] late=false`}},
		{
			"other states are there too", 0,
			[]string{"a@1 note p", "a@1 note q", "b@1 note r", "a@1 get"},
			[]string{`a "" false [p q] late=false`},
		},
		{
			"what failed left no trace", 0,
			[]string{"a@1 put x", "a@100 putfail y", "a@2 get"},
			[]string{`a "x" true [] late=false`},
		},
		{"a late event comes like others", 0, []string{"a@10 put x", "a@9 get", "a@10 get"}, []string{`a "x" true [] late=true`, `a "x" true [] late=false`}},
		{
			"a timer fires once, when the watermark reaches it", 0,
			[]string{"a@1 put x", "a@1 event 5", "a@1 event 5", "b@5 put y", "b@6 get"},
			[]string{`b "y" true [] late=false`, `a event at 5: "x"`},
		},
		{
			"timers of one time are told apart by namespace", 0,
			[]string{"a@1 event2 5", "b@6"},
			[]string{`a a at 5: ""`, `a b at 5: ""`},
		},
		{"a deleted timer does not fire", 0, []string{"a@1 event 5", "a@1 forget 5", "b@9"}, nil},
		{
			"a timer changes the state of its key", 0,
			[]string{"a@1 put x", "b@1 put y", "a@1 clear 5", "c@9", "a@9 get", "b@9 get"},
			[]string{`a clear at 5: "x"`, `a "" false [] late=false`, `b "y" true [] late=false`},
		},
		{"a timer for a time that has passed fires at once", 0, []string{"a@9", "a@9 event 3", "a@9 get"}, []string{`a event at 3: ""`, `a "" false [] late=false`}},
		{
			"state lives as long as its ttl", 10 * time.Millisecond,
			[]string{"a@100 put x", "b@110", "a@110 get", "b@111", "a@111 get"},
			[]string{`a "x" true [] late=false`, `a "" false [] late=false`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []int{1, 3, 100} {
				k := clerk()
				k.TTL = tt.ttl
				d := handlerstest.New(t, k, handlerstest.InBatchesOf(cut))
				for steps := range slices.Chunk(orders(tt.steps...), cut) {
					d.Send(steps...)
					d.Restart()
				}
				var want []string
				for _, s := range tt.want {
					want = append(want, fmt.Sprintf("%q", s))
				}
				if got := d.Emitted("said"); !slices.Equal(got, want) {
					t.Errorf("in batches of %d it said\n%s\nwant\n%s", cut, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

func TestKeyedProcessingTimers(t *testing.T) {
	d := handlerstest.New(t, clerk())
	d.Send(orders("a@1 put x", "a@1 clock")...)
	d.Advance(59 * time.Minute)
	if got := d.Emitted("said"); len(got) > 0 {
		t.Errorf("too early it said %q", got)
	}
	d.Restart()
	d.Advance(time.Minute)
	d.Advance(time.Minute)
	if got := d.Emitted("said"); len(got) != 1 || !strings.Contains(got[0], `a clock at `) {
		t.Errorf("it said %q", got)
	}
}

func TestKeyedEmitsToDeclaredTopics(t *testing.T) {
	d := handlerstest.New(t, clerk())
	d.Send(orders("ana@7 aside x", "ana@8 elsewhere x")...)
	recs := d.Records("aside")
	if len(recs) != 1 || string(recs[0].Key) != "ana" || recs[0].Time != 7 || string(recs[0].Value) != `"x"` {
		t.Errorf("aside: %+v", recs)
	}
	if dead := d.DeadLetters(); len(dead) != 1 || !strings.Contains(dead[0].Reason, `emit to "elsewhere"`) {
		t.Errorf("dead letters: %+v", dead)
	}
}

func TestKeyedWithoutOnTimerSetsNone(t *testing.T) {
	k := clerk()
	k.OnTimer = nil
	d := handlerstest.New(t, k)
	d.Send(orders("a@1 event 5", "a@9 get")...)
	if dead := d.DeadLetters(); len(dead) != 1 || !strings.Contains(dead[0].Reason, "no OnTimer") {
		t.Errorf("dead letters: %+v", dead)
	}
	if got := d.Emitted("said"); len(got) != 1 {
		t.Errorf("it said %q", got)
	}
}

func TestKeyedRefusesTimesAndKeysThatAreNone(t *testing.T) {
	k := clerk()
	k.Time = func(o order) time.Time { return time.Time{}.Add(time.Duration(o.At)) }
	d := handlerstest.New(t, k, handlerstest.Configure(func(c *stateful.Config) { c.Limits.KeyBytes = 8 }))
	d.Send(orders("a@0 put x")...)
	k = clerk()
	k.Time = nil
	d2 := handlerstest.New(t, k, handlerstest.Configure(func(c *stateful.Config) { c.Limits.KeyBytes = 8 }))
	d2.Send(stateful.Record{Value: []byte("{}"), Time: stateful.NoTime}, stateful.Record{Value: []byte(`{"Key":"long-long-key"}`), Time: 5})
	d2.Send([]byte("poison"))
	var got []string
	for _, l := range append(d.DeadLetters(), d2.DeadLetters()...) {
		got = append(got, l.Reason)
	}
	for i, part := range []string{"zero time.Time", "no time of its own", "Limits.KeyBytes", "decode"} {
		if len(got) != 4 || !strings.Contains(got[i], part) {
			t.Fatalf("dead letters %q, want %q in number %d", got, part, i)
		}
	}
}

func TestKeyedNamesAllFaultsAtOnce(t *testing.T) {
	k := handlers.Keyed[order, string]{
		Name: "k", From: "a", To: "b", SideTo: []string{"b", "a"}, MaxDelay: 1, TTL: -1,
		States: []stateful.State{&stateful.Value[int]{Name: "keyed"}, &stateful.Value[int]{}},
	}
	err := fmt.Sprint(k.Validate())
	for _, part := range []string{"Key is required", "OnEvent is required", "MaxDelay", `own input "a"`, `SideTo names "b"`, "TTL is negative", "name of S", `Name is ""`} {
		if !strings.Contains(err, part) {
			t.Errorf("%q is not in %s", part, err)
		}
	}
	if err := clerk().Validate(); err != nil {
		t.Error(err)
	}
}

// O4: state of one key in two tasks would be two halves.
func TestKeyedChecksThatKeysFollowThePartitions(t *testing.T) {
	for _, promised := range []bool{false, true} {
		refused := 0
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			k := clerk()
			k.From, k.PartitionedBySource = "events", promised
			e := newEngine(t, k, func(c *stateful.Config) { c.Source = partitioned{} })
			err := e.try(event{Key: key, At: 1})
			if err != nil {
				refused++
			}
			if away := stateful.Murmur2Partitioner([]byte(key), 2) != 0; (err != nil) != (away && !promised) ||
				err != nil && !strings.Contains(err.Error(), "PartitionedBySource") {
				t.Errorf("promised %v, key %q: err = %v", promised, key, err)
			}
		}
		if !promised && (refused == 0 || refused == 6) {
			t.Errorf("%d of 6 keys were refused: choose others", refused)
		}
	}
}

// Whatever the batches, the restarts, the crashes and the retries: what comes out is the same.
func TestKeyedSameness(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var lines []string
	for i := range 300 {
		key, now := string(rune('a'+rng.IntN(4))), i*3-rng.IntN(9)
		do := []string{"put p", "put q", "putfail r", "note s", "delete", "get", "get", "get", "aside t", "event", "clear", "event2"}[rng.IntN(12)]
		if strings.HasPrefix(do, "event") || do == "clear" {
			do += fmt.Sprintf(" %d", now+rng.IntN(40))
		}
		lines = append(lines, fmt.Sprintf("%s@%d %s", key, now, do))
	}
	play := func(batch, restart int, crashes bool) []string {
		k := clerk()
		k.TTL = 60 * time.Millisecond
		k.MaxDelay = 5 * time.Millisecond
		d := handlerstest.New(t, k, handlerstest.InBatchesOf(batch))
		for i, e := range orders(lines...) {
			if crashes && i%17 == 0 {
				d.CrashAt(handlerstest.Points[i/17%len(handlerstest.Points)])
			}
			d.Send(e)
			if restart > 0 && i%restart == 0 {
				d.Restart()
			}
		}
		d.End()
		return append(d.Emitted("said"), d.Emitted("aside")...)
	}
	want := play(1000, 0, false)
	if len(want) < 100 {
		t.Fatalf("only %d outputs", len(want))
	}
	for _, l := range []struct {
		batch, restart int
		crashes        bool
	}{{1, 0, false}, {7, 3, false}, {1, 1, false}, {5, 0, true}, {5, 11, true}} {
		if got := play(l.batch, l.restart, l.crashes); !slices.Equal(got, want) {
			t.Errorf("%+v: other outputs", l)
		}
	}
}
