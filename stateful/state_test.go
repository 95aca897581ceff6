package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

// stateTest is a handler of one state of each kind. A record is "time operation key arguments";
// what an operation reads it emits.
type stateTest struct {
	value stateful.Value[string]
	list  stateful.List[string]
	tags  stateful.Map[string, int]
	sum   stateful.Aggregate[int, int]
	delay time.Duration
	timed func(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error
}

func statesWith(ttl time.Duration, clock stateful.TimerKind) *stateTest {
	return &stateTest{
		value: stateful.Value[string]{Name: "value", TTL: ttl, Clock: clock},
		list:  stateful.List[string]{Name: "list", TTL: ttl, Clock: clock},
		tags:  stateful.Map[string, int]{Name: "tags", TTL: ttl, Clock: clock},
		sum: stateful.Aggregate[int, int]{
			Name: "sum", TTL: ttl, Clock: clock,
			Init: func() int { return 1000 },
			Fold: func(a, n int) (int, error) { return a + n, nil },
		},
	}
}

func (h *stateTest) HandlerName() string           { return "states" }
func (h *stateTest) Inputs() []string              { return []string{"in"} }
func (h *stateTest) Outputs() []string             { return []string{"out"} }
func (h *stateTest) WatermarkDelay() time.Duration { return h.delay }
func (h *stateTest) Validate() error {
	return stateful.CheckStates(&h.value, &h.list, &h.tags, &h.sum)
}

func (h *stateTest) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	words := strings.Fields(string(rec.Value))
	ms, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return stateful.Permanent(err)
	}
	if _, err := tx.Observe(ms); err != nil {
		return err
	}
	at := stateful.Scope{Tx: tx}
	if len(words) > 2 {
		at.Key = words[2]
	}
	args := words[min(3, len(words)):]
	fails := len(args) > 0 && args[len(args)-1] == "!"
	if fails {
		args = args[:len(args)-1]
	}
	if err := h.do(ctx, at, words[1], args); err != nil || !fails {
		return err
	}
	return stateful.Permanent(errors.New("as asked"))
}

func (h *stateTest) do(ctx context.Context, at stateful.Scope, op string, args []string) error {
	number := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	switch op {
	case "nothing":
		return nil
	case "put":
		return h.value.Put(ctx, at, args[0])
	case "delete":
		return h.value.Delete(ctx, at)
	case "append":
		return h.list.Append(ctx, at, args...)
	case "clear":
		return h.list.Clear(ctx, at)
	case "tag":
		return h.tags.Put(ctx, at, args[0], number(1))
	case "untag":
		return h.tags.Delete(ctx, at, args[0])
	case "untagall":
		return h.tags.Clear(ctx, at)
	case "add":
		n, err := h.sum.Add(ctx, at, number(0))
		return errors.Join(err, say(at.Tx, "out", "sum %d", n))
	case "forget":
		return h.sum.Delete(ctx, at)
	case "timer":
		return at.Tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: int64(number(0)), Key: at.Key})
	case "get":
		s, err := h.read(ctx, at)
		return errors.Join(err, say(at.Tx, "out", "%s", s))
	}
	return stateful.Permanent(fmt.Errorf("no operation %q", op))
}

// read returns all states of a key.
func (h *stateTest) read(ctx context.Context, at stateful.Scope) (string, error) {
	v, ok, err := h.value.Get(ctx, at)
	if !ok {
		v = "-"
	}
	s := at.Key + " " + v + " ["
	n, ok, err1 := h.sum.Get(ctx, at)
	for e, err := range h.list.All(ctx, at) {
		if err != nil {
			return "", err
		}
		s += " " + e
	}
	s += " ] {"
	for e, err := range h.tags.All(ctx, at) {
		if err != nil {
			return "", err
		}
		s += fmt.Sprintf(" %s:%d", e.Key, e.Value)
		if one, ok, err := h.tags.Get(ctx, at, e.Key); err != nil || !ok || one != e.Value {
			return "", stateful.Permanent(fmt.Errorf("tag %s is %d, %v: %w", e.Key, one, ok, err))
		}
	}
	s += " }"
	if ok {
		s += fmt.Sprintf(" %d", n)
	}
	return s, errors.Join(err, err1)
}

func (h *stateTest) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	if h.timed != nil {
		return h.timed(ctx, tx, t)
	}
	s, err := h.read(ctx, stateful.Scope{Tx: tx, Key: t.Key})
	return errors.Join(err, say(tx, "out", "timer %d: %s", t.Time, s))
}

// entries closes the processor and counts what is stored, by the first byte of the key.
func (r *rig) entries() map[string]int {
	r.t.Helper()
	if err := r.p.Close(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	s, _, err := r.cfg.Backend.Open(context.Background(), stateful.TaskID{App: "test", Handler: r.handler.HandlerName()})
	if err != nil {
		r.t.Fatal(err)
	}
	n := map[string]int{}
	for e, err := range s.Scan(context.Background(), "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		n[e.Key[:1]]++
	}
	if err := s.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.restart()
	return n
}

func TestTypedStates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		steps []string
		want  []string
	}{
		{
			"each key has its own", 0,
			[]string{"1 put a x", "1 put b y", "1 append a p q", "1 append b r", "1 tag a k 1", "1 tag b k 2", "1 tag b j 3", "1 get a", "1 get b", "1 get c"},
			[]string{"a x [ p q ] { k:1 }", "b y [ r ] { j:3 k:2 }", "c - [ ] { }"},
		},
		{
			"a key is not the beginning of another", 0,
			[]string{"1 tag a bc 1", "1 tag ab c 2", "1 append a x", "1 append ab y", "1 get a", "1 get ab"},
			[]string{"a - [ x ] { bc:1 }", "ab - [ y ] { c:2 }"},
		},
		{
			"what is deleted is gone", 0,
			[]string{"1 put a x", "1 delete a", "1 append a p", "1 clear a", "1 append a q", "1 tag a k 1", "1 tag a j 1", "1 untag a k", "1 get a", "1 untagall a", "1 get a"},
			[]string{"a - [ q ] { j:1 }", "a - [ q ] { }"},
		},
		{
			"an aggregate begins with Init", 0,
			[]string{"1 add a 1", "1 add a 2", "1 forget a", "1 add a 4"},
			[]string{"sum 1001", "sum 1003", "sum 1004"},
		},
		{
			"what a record did is undone when it fails", 0,
			[]string{"1 put a x", "1 append a p", "1 tag a k 1", "1 add a 1", "1 put a y !", "1 delete a !", "1 append a q !", "1 clear a !", "1 tag a k 2 !", "1 untagall a !", "1 add a 5 !", "1 get a"},
			[]string{"sum 1001", "a x [ p ] { k:1 } 1001"},
		},
		// A watermark of 109 comes with the time 110.
		{
			"vector 21: ttl 10 written at 100 is there at 109", 10 * time.Millisecond,
			[]string{"100 put a x", "100 append a p", "100 tag a k 1", "100 add a 1", "110 nothing", "110 get a"},
			[]string{"sum 1001", "a x [ p ] { k:1 } 1001"},
		},
		{
			"vector 21: and gone at 110", 10 * time.Millisecond,
			[]string{"100 put a x", "100 append a p", "100 tag a k 1", "100 add a 1", "111 nothing", "111 get a"},
			[]string{"sum 1001", "a - [ ] { }"},
		},
		{
			"writing again begins the time anew", 10 * time.Millisecond,
			[]string{"100 put a x", "105 put a y", "112 nothing", "112 get a", "116 nothing", "116 get a"},
			[]string{"a y [ ] { }", "a - [ ] { }"},
		},
		{
			"reading does not", 10 * time.Millisecond,
			[]string{"100 put a x", "105 get a", "111 nothing", "111 get a"},
			[]string{"a x [ ] { }", "a - [ ] { }"},
		},
		{
			"each element and entry has its own time", 10 * time.Millisecond,
			[]string{"100 append a p", "100 tag a k 1", "105 append a q", "105 tag a j 1", "111 nothing", "111 get a", "111 append a r", "111 get a"},
			[]string{"a - [ q ] { j:1 }", "a - [ q r ] { j:1 }"},
		},
		{
			"an aggregate that expired begins again", 10 * time.Millisecond,
			[]string{"100 add a 1", "105 add a 1", "114 add a 1", "130 nothing", "130 add a 1"},
			[]string{"sum 1001", "sum 1002", "sum 1003", "sum 1001"},
		},
		{
			"what a late record wrote lives from its own time", 10 * time.Millisecond,
			[]string{"105 nothing", "96 put a x", "96 put b x", "100 get a", "107 nothing", "107 get a", "100 put b y", "90 put c z", "107 get b", "107 get c"},
			[]string{"a x [ ] { }", "a - [ ] { }", "b y [ ] { }", "c - [ ] { }"},
		},
		{
			"parts of a millisecond count as one", 9*time.Millisecond + 1,
			[]string{"100 put a x", "110 nothing", "110 get a", "111 nothing", "111 get a"},
			[]string{"a x [ ] { }", "a - [ ] { }"},
		},
		{
			"times before 1970", 10 * time.Millisecond,
			[]string{"-100 put a x", "-105 put b x", "-90 nothing", "-90 get a", "-89 nothing", "-89 get a", "-89 get b"},
			[]string{"a x [ ] { }", "a - [ ] { }", "b - [ ] { }"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []int{1, 2, len(tt.steps)} { // and a restart behind each batch
				r := newRig(t, statesWith(tt.ttl, 0))
				for steps := range slices.Chunk(tt.steps, cut) {
					r.send(steps...)
					r.restart()
				}
				var got []string
				for _, line := range r.sink.all() {
					if out, ok := strings.CutPrefix(line, "out: "); ok {
						got = append(got, out)
					}
				}
				wantLines(t, got, tt.want...)
			}
		})
	}
}

// T7: a timer is a member of a set.
func TestVector22(t *testing.T) {
	r := newRig(t, statesWith(0, 0))
	r.send("1 timer a 5", "1 timer a 5", "7 nothing")
	r.want("out: timer 5: a - [ ] { }")
}

// A timer finds what it would have found had the watermark come step by step; and so when an advance is
// cut into commits, each of which sweeps, or the process starts anew in the middle.
func TestWhatATimerSeesDoesNotDependOnHowFarTheWatermarkJumped(t *testing.T) {
	for _, rows := range []int{0, 1} {
		for _, step := range []int{1, 1000} {
			r := newRig(t, statesWith(10*time.Millisecond, 0), func(c *stateful.Config) {
				c.Limits.CommitRows = rows
			})
			r.send("100 put a x", "100 timer a 105", "100 timer a 109", "100 timer a 110", "100 timer a 120")
			for at := 100; at <= 1100; at += step {
				r.send(fmt.Sprintf("%d nothing", at))
			}
			r.want("out: timer 105: a x [ ] { }", "out: timer 109: a x [ ] { }", "out: timer 110: a - [ ] { }", "out: timer 120: a - [ ] { }")
		}
	}
}

// What had expired when the watermark passed does not come back for a timer that is set too late.
func TestATimerThatIsLateSeesNothingExpired(t *testing.T) {
	r := newRig(t, statesWith(50*time.Millisecond, 0))
	r.send("0 put k x", "60 put l x", "101 nothing", "101 timer k 10", "101 timer l 10")
	r.want("out: timer 10: k - [ ] { }", "out: timer 10: l x [ ] { }")
}

// A cell that was let go of, and that was looked up last, is not that of the empty key.
func TestTheEmptyKeyIsAKey(t *testing.T) {
	state := stateful.Value[string]{Name: "v"}
	h := each(func(ctx context.Context, tx *stateful.Tx, v string) error {
		switch v {
		case "put a":
			return state.Put(ctx, stateful.Scope{Tx: tx, Key: "a"}, v)
		case "delete a":
			return state.Delete(ctx, stateful.Scope{Tx: tx, Key: "a"})
		case "put":
			return state.Put(ctx, stateful.Scope{Tx: tx}, v)
		}
		got, ok, err := state.Get(ctx, stateful.Scope{Tx: tx})
		return errors.Join(err, say(tx, "out", "%q %v", got, ok))
	})
	r := newRig(t, h)
	for _, v := range []string{"put a", "delete a", "put", "get"} {
		r.send(v)
	}
	r.restart()
	r.send("get")
	var got []string
	for _, line := range r.sink.all() {
		if strings.Contains(line, "\"") {
			got = append(got, line)
		}
	}
	wantLines(t, got, `out: "put" true`, `out: "put" true`)
}

func TestWhatATimerWritesLivesFromItsTime(t *testing.T) {
	h := statesWith(10*time.Millisecond, 0)
	h.timed = func(ctx context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		at := stateful.Scope{Tx: tx, Key: timer.Key}
		if timer.Time == 120 {
			return h.value.Put(ctx, at, "from the timer")
		}
		s, err := h.read(ctx, at)
		return errors.Join(err, say(tx, "out", "%d: %s", timer.Time, s))
	}
	r := newRig(t, h)
	r.send("100 timer a 120", "100 timer a 129", "100 timer a 130", "500 nothing", "500 get a")
	r.want("out: 129: a from the timer [ ] { }", "out: 130: a - [ ] { }", "out: a - [ ] { }")
}

// W5: the clock is sampled once per transaction and kept for its retries.
func TestProcessingTimeToLive(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := newRig(t, statesWith(10*time.Millisecond, stateful.ProcessingTime), func(c *stateful.Config) {
		c.Now = func() time.Time { now = now.Add(time.Millisecond); return now } // goes on at every look
	})
	r.send("1 put a x", "500 get a", "501 get a", "502 get a", "503 get a", "504 get a", "505 get a", "506 get a", "507 get a", "508 get a", "509 get a", "510 get a", "511 get a")
	now = now.Add(5 * time.Millisecond)
	r.send("600 get a")
	now = now.Add(10 * time.Millisecond)
	r.send("600 get a")
	var want []string
	for range 13 {
		want = append(want, "out: a x [ ] { }")
	}
	r.want(append(want, "out: a - [ ] { }")...)
}

func TestEventTimeToLiveNeedsATime(t *testing.T) {
	v := stateful.Value[int]{Name: "v", TTL: time.Second}
	r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, _ string) error {
		return v.Put(ctx, stateful.Scope{Tx: tx, Key: "a"}, 1)
	}))
	r.send("x")
	r.want("dead: x")
	wantReason(t, r, 0, "call Tx.Observe before")
}

func TestFaultsOfStatesAreNamedAtOnce(t *testing.T) {
	h := statesWith(-1, 9)
	h.value.Name, h.tags.Name, h.sum.Fold = "Value", "list", nil
	p, err := stateful.NewProcessor(newRig(t, sums()).cfg)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, p.AddTo(nil, h), `Name is "Value"`, "TTL is negative", "Clock must be", "Fold is required", `state "list" is named twice`)
	type lossy struct{ hidden int } //nolint:unused // that is the point
	wantErr(t, stateful.CheckStates(&stateful.Value[lossy]{Name: "v"}, nil), "State: ", "state 1 is nil")
}

// A wrong declaration that nobody checked stops the processor: no retry would cure it.
func TestStatesOfOneNameAndTwoTypesStopTheProcessor(t *testing.T) {
	a, b := stateful.Value[int]{Name: "v"}, stateful.Value[string]{Name: "v"}
	r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, _ string) error {
		return errors.Join(a.Put(ctx, stateful.Scope{Tx: tx}, 1), b.Put(ctx, stateful.Scope{Tx: tx}, ""))
	}))
	wantErr(t, r.process(r.batch("in", "x")), `state "v" is declared twice`)
	wantErr(t, r.p.Ready(), `state "v" is declared twice`)
}

func TestLongKeysOfStatesAreRefused(t *testing.T) {
	r := newRig(t, statesWith(0, 0), func(c *stateful.Config) { c.Limits.KeyBytes = 10 })
	r.send("1 put " + strings.Repeat("k", 100) + " x")
	wantReason(t, r, 0, "Limits.KeyBytes")
}

// Keys of maps are in the order of their numbers, below zero too.
func TestMapKeysKeepTheirOrder(t *testing.T) {
	type celsius int8
	signed := stateful.Map[celsius, bool]{Name: "signed"}
	unsigned := stateful.Map[uint64, bool]{Name: "unsigned"}
	var got []string
	r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, _ string) error {
		at := stateful.Scope{Tx: tx, Key: "k"}
		for _, n := range []int8{5, -128, 127, 0, -1} {
			if err := signed.Put(ctx, at, celsius(n), true); err != nil {
				return err
			}
		}
		for _, n := range []uint64{1 << 63, 0, 1<<64 - 1, 7} {
			if err := unsigned.Put(ctx, at, n, true); err != nil {
				return err
			}
		}
		got = nil
		for e, err := range signed.All(ctx, at) {
			got = append(got, fmt.Sprint(e.Key, err))
		}
		for e, err := range unsigned.All(ctx, at) {
			got = append(got, fmt.Sprint(e.Key, err))
		}
		return nil
	}))
	r.send("x")
	r.restart()
	r.send("x")
	want := "[-128 <nil> -1 <nil> 0 <nil> 5 <nil> 127 <nil> 0 <nil> 7 <nil> 9223372036854775808 <nil> 18446744073709551615 <nil>]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
