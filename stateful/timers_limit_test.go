package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

func timerAt(n int) stateful.Timer {
	return stateful.Timer{Kind: stateful.EventTime, Time: int64(n), Key: "k"}
}

// F4: a record that would set one timer more than the limit fails for good, and so does a firing; nothing else does.
func TestLimitOfTimers(t *testing.T) {
	h := &timed{adder: *sums()}
	h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		if timer.Time > 1 {
			return nil
		}
		// Its own place is free by now, and there is one.
		return errors.Join(tx.SetTimer(timerAt(30)), tx.SetTimer(timerAt(31)))
	}
	h.before = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		var what string
		var n int
		if _, err := fmt.Sscan(string(rec.Value), &what, &n); err != nil {
			return err
		}
		switch what {
		case "now":
			return observe(tx, int64(n+1))
		case "drop":
			tx.DeleteTimer(timerAt(n))
			return nil
		case "twice":
			return errors.Join(tx.SetTimer(timerAt(n)), tx.SetTimer(timerAt(n)))
		case "fails":
			return errors.Join(tx.SetTimer(timerAt(n)), stateful.Permanent(errors.New("it fails")))
		}
		return tx.SetTimer(timerAt(n))
	}
	h.to = ""
	r := newRig(t, emitting{h}, func(c *stateful.Config) { c.Limits.Timers = 3 })
	for _, v := range []string{
		"set 1", "twice 10", "fails 11", "set 20", // three
		"set 20", "set 21", "drop 99", "set 21", // full
		"drop 10", "drop 10", "set 22", "set 23", // one more is free, once
		"now 1", // it fires, and cannot set two
		"set 24", "set 25",
	} {
		r.send(v)
		r.restart()
	}
	r.want("dead: fails 11", "dead: set 21", "dead: set 21", "dead: set 23", "dead: ", "dead: set 25")
	wantReason(t, r, 1, "Limits.Timers")
	wantReason(t, r, 4, "Limits.Timers")
}

// Whatever is set, set again, deleted, fired and undone: a timer is refused when there are as many as the limit, and only then.
func TestTimersAreCountedLikeASet(t *testing.T) {
	const limit = 700
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			model := map[int64]bool{}
			var now int64
			h := &timed{adder: *sums()}
			h.onTimer = func(_ context.Context, _ *stateful.Tx, timer stateful.Timer) error {
				delete(model, timer.Time)
				return nil
			}
			refused := 0
			h.before = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
				set := maps.Clone(model)
				for range rng.IntN(20) {
					timer := timerAt(int(now) + 1 + rng.IntN(1200))
					if rng.IntN(4) == 0 {
						tx.DeleteTimer(timer)
						delete(set, timer.Time)
						continue
					}
					err := tx.SetTimer(timer)
					if full := len(set) >= limit && !set[timer.Time]; (err != nil) != full {
						t.Errorf("there are %d timers, this one among them: %v; the answer is %v", len(set), set[timer.Time], err)
					}
					if err != nil {
						refused++
						return err
					}
					set[timer.Time] = true
				}
				if rng.IntN(4) == 0 {
					return stateful.Permanent(errors.New("undone"))
				}
				model = set
				if rng.IntN(100) == 0 {
					now += int64(rng.IntN(400))
					return observe(tx, now+1)
				}
				return nil
			}
			r := newRig(t, h, func(c *stateful.Config) { c.Limits.Timers, c.Limits.CommitRows = limit, 100 })
			for i := range 60 {
				r.send(slices.Repeat([]string{"a 1"}, 20)...)
				if i%10 == 9 {
					r.restart()
				}
			}
			if refused == 0 {
				t.Error("the limit was never reached: the test shows nothing")
			}
		})
	}
}

// As long as timers are far from their limit nothing is read to count them.
func TestFewTimersAreCountedForNothing(t *testing.T) {
	b := scripted(memory.New())
	b.get = func(keys []string) error {
		if strings.HasPrefix(keys[0], "t") {
			t.Errorf("%q was read", keys)
		}
		return nil
	}
	h := &timed{adder: *sums()}
	h.before = func(_ context.Context, tx *stateful.Tx, _ *stateful.Record) error {
		for i := range 2000 {
			if err := tx.SetTimer(timerAt(i)); err != nil {
				return err
			}
		}
		tx.DeleteTimer(timerAt(1999))
		return nil
	}
	h.onTimer = func(context.Context, *stateful.Tx, stateful.Timer) error { return nil }
	r := newRig(t, h, func(c *stateful.Config) { c.Backend = b })
	for range 3 {
		r.send("a 1")
		r.restart()
	}
}
