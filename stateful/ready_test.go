package stateful_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Each reason for which a task waits stands until it is gone, whatever else has begun and ended.
func TestReasonsToWaitDoNotHideEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sums()
		fails := 1
		h.before = func(context.Context, *stateful.Tx, *stateful.Record) error {
			if fails--; fails >= 0 {
				return errors.New("not yet")
			}
			return nil
		}
		r := newRig(t, h, func(c *stateful.Config) { c.Limits.OutboxRows = 1; c.DeadLetterTo = "" })
		r.policy(stateful.Policy{
			Retry:   &stateful.Retry{Base: time.Second, Max: time.Second},
			Breaker: &oneSlowAttempt{},
		})
		r.send("a 1")
		r.sink.opened.task.Failed(errors.New("the broker is down"))
		r.sink.hold()
		r.send("a 2") // is waiting in the outbox
		time.AfterFunc(time.Minute, r.sink.release)
		fails = 3
		r.send("a 3") // waits for room, for the breaker, and is stuck
		wantErr(t, r.p.Ready(), "the broker is down")
		r.sink.opened.task.Failed(nil)
		if err := r.p.Ready(); err != nil {
			t.Errorf("nothing is the matter, and it says %v", err)
		}
	})
}

// oneSlowAttempt is open before each attempt.
type oneSlowAttempt struct{ asked int }

func (b *oneSlowAttempt) Allow() (func(error), time.Duration) {
	if b.asked++; b.asked%2 == 1 {
		return nil, time.Second
	}
	return func(error) {}, 0
}

// A record that failed for good holds its partition up also while it is tried again.
func TestStuckRecordIsReportedWhileItIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sums()
		var r *rig
		n := 0
		h.before = func(context.Context, *stateful.Tx, *stateful.Record) error {
			if n++; n > 1 {
				wantErr(t, r.p.Ready(), "the service is down")
			}
			if n < 4 {
				return errors.New("the service is down")
			}
			return nil
		}
		r = newRig(t, h)
		r.policy(stateful.Policy{Retry: &stateful.Retry{Max: time.Second}})
		r.send("a 1")
		if err := r.p.Ready(); err != nil {
			t.Errorf("it was done, and readiness says %v", err)
		}
	})
}

// S2: a source that goes on beyond the position has lost records. The task does not skip them and does not
// spin; it says why it waits.
func TestLastingGapIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource("a 1", "a 2")
		sys := runSystem(t, src, sums())
		time.Sleep(time.Second)
		src.mu.Lock()
		src.lost = map[int64]int64{2: 1}
		src.mu.Unlock()
		src.add("in", 0, "a 3", "a 4", "a 5")
		time.Sleep(time.Hour)
		synctest.Wait()
		wantErr(t, sys.p.Ready(), "in/0 from offset 3 on", "up to 2")
		sys.want("out: a 1", "out: a 3")
		if src.deliveries > 2000 {
			t.Errorf("%d envelopes were delivered in an hour", src.deliveries)
		}
		src.mu.Lock()
		src.lost = nil
		src.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		sys.want("out: a 1", "out: a 3", "out: a 6", "out: a 10", "out: a 15")
		if err := sys.p.Ready(); err != nil {
			t.Errorf("the gap is closed, and readiness says %v", err)
		}
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}
