package stateful_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// oneAtATime is a half-open breaker: it lets one attempt through and no other before it knows
// that one's outcome.
type oneAtATime struct {
	mu       sync.Mutex
	busy     bool
	outcomes []string
}

func (b *oneAtATime) Allow() (func(error), time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return nil, time.Second
	}
	b.busy = true
	return func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.busy = false
		if err == nil {
			b.outcomes = append(b.outcomes, "done")
		} else {
			b.outcomes = append(b.outcomes, err.Error())
		}
	}, 0
}

// T2: the breaker sees every attempt, those at firings and timers too, and each by itself.
func TestBreakerSeesFirings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &timed{adder: *sums()}
		h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
			if string(rec.Value) == "b 1" {
				return nil
			}
			_, err := tx.Observe(0)
			return errors.Join(err,
				tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: -1000, Key: "event"}),
				tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: 0, Key: "clock"}))
		}
		tries := 0
		h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
			if tries++; tries%3 != 0 {
				return errors.New("not now")
			}
			return say(tx, "out", "timer %s", timer.Key)
		}
		r := newRig(t, h)
		b := &oneAtATime{}
		r.policy(stateful.Policy{Breaker: b, Retry: &stateful.Retry{Retries: 3, Base: time.Second, Max: time.Second}})
		r.send("a 1", "b 1", "b 1")
		r.want("out: a 1", "out: timer event", "out: b 1", "out: b 2")
		if want := []string{"done", "not now", "not now", "done", "done"}; !slices.Equal(b.outcomes, want) {
			t.Errorf("of a record, a timer and two records the breaker saw %q, want %q", b.outcomes, want)
		}
		b.outcomes = nil
		r.tick()
		if want := []string{"not now", "not now", "done"}; !slices.Equal(b.outcomes, want) {
			t.Errorf("of a tick it saw %q, want %q", b.outcomes, want)
		}
	})
}

// An open breaker holds firings back as it does records, and says so.
func TestOpenBreakerHoldsFirings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &timed{adder: *sums()}
		h.after = func(_ context.Context, tx *stateful.Tx, _ *stateful.Record) error {
			_, err := tx.Observe(0)
			return errors.Join(err, tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: -1000}))
		}
		h.onTimer = func(_ context.Context, tx *stateful.Tx, _ stateful.Timer) error { return say(tx, "out", "timer") }
		r := newRig(t, h)
		b := &oneAtATime{}
		r.policy(stateful.Policy{Breaker: opensAfter{b, 1}})
		go func() {
			time.Sleep(time.Minute)
			wantErr(t, r.p.Ready(), "breaker")
			r.want("out: a 1") // what is done is committed
			time.Sleep(time.Minute)
			b.mu.Lock()
			b.busy = false
			b.mu.Unlock()
		}()
		r.send("a 1")
		r.want("out: a 1", "out: timer")
		synctest.Wait()
	})
}

// opensAfter is a breaker that is open after n attempts until busy is taken back.
type opensAfter struct {
	*oneAtATime
	n int
}

func (b opensAfter) Allow() (func(error), time.Duration) {
	done, wait := b.oneAtATime.Allow()
	if done == nil {
		return nil, wait
	}
	return func(err error) {
		done(err)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.busy = len(b.outcomes) == b.n
	}, 0
}

// referring has a firing for each record, and refers to what only the instance that named it knows.
type referring struct {
	*adder
	shared *referred
	table  *stateful.Table[int]
}

type referred struct {
	due       []string
	instances int
	fails     int
	strangers int // firings of another instance
	asked     int // what fires next
}

func (h *referring) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	own := &referring{adder: h.adder, shared: h.shared, table: stateful.NewTable(t, "n", codec)}
	h.shared.instances++
	return own, err
}

func (h *referring) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	c, err := h.table.Load(ctx, rec.Value)
	if err != nil {
		return err
	}
	h.table.Put(c, 1)
	if string(rec.Value) == "fire" {
		h.shared.due = append(h.shared.due, "now")
	}
	_, err = tx.Observe(0)
	return err
}

func (h *referring) Due() int64 {
	if len(h.shared.due) > 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

func (h *referring) NextFiring(context.Context, *stateful.Tx, int64, int64, stateful.Firing) (stateful.Firing, bool, error) {
	h.shared.asked++
	if len(h.shared.due) == 0 {
		return stateful.Firing{}, false, nil
	}
	return stateful.Firing{Time: -1000, Key: h.shared.due[0], Ref: h}, true, nil
}

func (h *referring) Fire(_ context.Context, tx *stateful.Tx, f stateful.Firing) error {
	if f.Ref != h {
		h.shared.strangers++
	}
	if h.shared.fails--; h.shared.fails >= 0 {
		return errors.New("later")
	}
	h.shared.due = h.shared.due[1:]
	return say(tx, h.to, "fired")
}

func (h *referring) Skip(context.Context, *stateful.Tx, stateful.Firing) error { return nil }

// An instance that is let go for the memory it takes goes between records and firings, never while one is tried
// again: what it said of a firing means nothing to the next one.
func TestInstanceIsNotReplacedInTheMiddleOfAFiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &referring{adder: sums(), shared: &referred{fails: 3}}
		r := newRig(t, h, func(c *stateful.Config) { c.Limits.CachedEntries = 2 })
		r.policy(stateful.Policy{Retry: &stateful.Retry{Retries: 5, Base: time.Second, Max: time.Second}})
		r.send("a", "b", "c", "fire", "d")
		r.want("out: fired")
		if h.shared.strangers > 0 {
			t.Errorf("%d firings came to an instance that had not named them", h.shared.strangers)
		}
		if h.shared.instances < 2 {
			t.Error("the instance was never let go")
		}
	})
}

// T3: an advance whose last firing filled a commit is known to be done, and is not looked through again by
// who opens the task next.
func TestEndOfAnAdvanceIsStored(t *testing.T) {
	h := &referring{adder: sums(), shared: &referred{}}
	r := newRig(t, h, func(c *stateful.Config) { c.Limits.CommitRows = 1 })
	r.send("fire")
	r.want("out: fired")
	r.restart()
	h.shared.asked = 0
	r.send()
	if h.shared.asked > 0 {
		t.Error("the advance was taken up again")
	}
}
