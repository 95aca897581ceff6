package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// counted is a backend that counts the entries its scans yield.
type counted struct {
	stateful.Backend
	yielded *int
}

func (b counted) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	return countedStore{s, b.yielded}, head, err
}

type countedStore struct {
	stateful.Store
	yielded *int
}

func (s countedStore) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		for e, err := range s.Store.Scan(ctx, from, to) {
			*s.yielded++
			if !yield(e, err) {
				return
			}
		}
	}
}

// T3: each timer is read about once, however many fire in one commit.
func TestTimersAreReadInChunks(t *testing.T) {
	const n = 5000
	fired, yielded := 0, 0
	h := &timed{adder: *sums()}
	h.onTimer = func(context.Context, *stateful.Tx, stateful.Timer) error { fired++; return nil }
	h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		if string(rec.Value) == "go 1" {
			return observe(tx, n)
		}
		for i := range n {
			if err := tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: int64(i)}); err != nil {
				return err
			}
		}
		return nil
	}
	r := newRig(t, h, func(c *stateful.Config) { c.Backend = counted{memory.New(), &yielded} })
	r.send("a 1")
	r.send("go 1")
	if fired != n || yielded > 2*n {
		t.Errorf("%d of %d timers fired, after reading %d", fired, n, yielded)
	}
}

// Whatever is set, deleted, failed and set again by callbacks: timers fire as those of a sorted set.
func TestTimersFireLikeASortedSet(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			model := map[int64]bool{}
			var got, want []int64
			h := &timed{adder: *sums()}
			act := func(tx *stateful.Tx, model map[int64]bool, from int64) error {
				for range rng.IntN(400) {
					timer := stateful.Timer{Kind: stateful.EventTime, Time: from + rng.Int64N(3000)}
					if rng.IntN(3) == 0 {
						tx.DeleteTimer(timer)
						delete(model, timer.Time)
						continue
					}
					if err := tx.SetTimer(timer); err != nil {
						return err
					}
					model[timer.Time] = true
				}
				return nil
			}
			h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
				switch rng.IntN(100) {
				case 0: // undone
					return errors.Join(act(tx, map[int64]bool{}, timer.Time), errors.New("again"))
				case 1:
					if len(got) < 20_000 {
						if err := act(tx, model, timer.Time+1); err != nil {
							return err
						}
					}
				}
				delete(model, timer.Time)
				got = append(got, timer.Time)
				if next := slices.Collect(maps.Keys(model)); len(next) > 0 && slices.Min(next) < timer.Time {
					return stateful.Permanent(fmt.Errorf("%d fired before %d", timer.Time, slices.Min(next)))
				}
				return nil
			}
			h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
				now, _ := strconv.ParseInt(strings.Fields(string(rec.Value))[1], 10, 64)
				if rng.IntN(3) == 0 {
					if err := act(tx, map[int64]bool{}, now); err != nil {
						return err
					}
					return errors.New("again")
				}
				if err := act(tx, model, now); err != nil {
					return err
				}
				return observe(tx, now)
			}
			r := newRig(t, h, func(c *stateful.Config) { c.Limits.CommitRows = 300 })
			r.policy(stateful.Policy{Retry: &stateful.Retry{Retries: 1000}})
			for i := range 8 {
				r.send(fmt.Sprintf("a %d", i*700))
				for ts := range model {
					if ts < int64(i*700) {
						want = append(want, ts)
					}
				}
				if i == 4 {
					r.restart()
				}
			}
			if len(want) > 0 {
				t.Errorf("%d timers that were due did not fire, the first at %d", len(want), slices.Min(want))
			}
			for _, line := range r.sink.all() {
				if strings.HasPrefix(line, "dead: ") {
					t.Fatal(line)
				}
			}
			if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Error("timers fired out of order, or twice")
			}
		})
	}
}

// The watermark need not move for them.
func TestATimerForATimeThatHasPassedFiresAtOnce(t *testing.T) {
	h := &timed{adder: *sums()}
	h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		if timer.Kind == stateful.ProcessingTime {
			return tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: 6, Key: "from a timer"})
		}
		return say(tx, "out", "timer %s", timer.Key)
	}
	h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		switch string(rec.Value) {
		case "a 1":
			return observe(tx, 1000)
		case "b 1":
			return tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: 5, Key: "from a record"})
		}
		return tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: 5})
	}
	r := newRig(t, h)
	r.send("a 1", "b 1", "c 1")
	r.want("out: a 1", "out: b 1", "out: timer from a record", "out: c 1")
	r.tick() // fires the one that sets another, and that
	r.want("out: a 1", "out: b 1", "out: timer from a record", "out: c 1", "out: timer from a timer")
}
