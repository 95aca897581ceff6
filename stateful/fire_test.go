package stateful_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

// clockTimer is a handler that sets a processing-time timer for each record, at the number of
// milliseconds of its value.
func clockTimer(now *time.Time, onTimer func(context.Context, *stateful.Tx, stateful.Timer) error) (*timed, func(*stateful.Config)) {
	h := &timed{adder: *sums()}
	h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		return tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: now.UnixMilli() + 1000, Key: "k"})
	}
	h.onTimer = func(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
		if onTimer != nil {
			return onTimer(ctx, tx, t)
		}
		return say(tx, "out", "ring %s", t.Key)
	}
	return h, func(c *stateful.Config) { c.Now = func() time.Time { return *now } }
}

func TestProcessingTimersFireByTick(t *testing.T) {
	now := time.UnixMilli(0)
	h, at := clockTimer(&now, nil)
	r := newRig(t, h, at)
	r.send("a 1")
	r.tick() // what was published is trimmed, so that nothing else makes the next commit
	r.tick()
	r.want("out: a 1")
	now = now.Add(999 * time.Millisecond)
	r.tick()
	r.want("out: a 1")
	now = now.Add(time.Millisecond)
	r.tick()
	r.want("out: a 1", "out: ring k")
	r.restart()
	r.send()
	r.tick()
	r.want("out: a 1", "out: ring k")
}

func TestTimersThatCameDueWhileDownFireOnce(t *testing.T) {
	now := time.UnixMilli(0)
	h, at := clockTimer(&now, nil)
	r := newRig(t, h, at)
	r.send("a 1", "a 1")
	now = now.Add(time.Hour)
	for range 3 {
		r.restart()
		r.send()
		r.tick()
		r.want("out: a 1", "out: a 2", "out: ring k")
	}
}

func TestTimerThatFailsForGoodIsDeadLettered(t *testing.T) {
	now := time.UnixMilli(0)
	tries := 0
	h, at := clockTimer(&now, func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		tries++
		tx.Put("trace", []byte("must be undone"))
		if err := say(tx, "out", "must be undone"); err != nil {
			return err
		}
		return errors.New("it cannot ring")
	})
	r := newRig(t, h, at)
	r.send("a 1")
	now = now.Add(time.Hour)
	r.tick()
	r.tick()
	r.want("out: a 1", "dead: ")
	if tries != 4 {
		t.Errorf("it was tried %d times, want 4", tries)
	}
	row := r.sink.rows[1]
	rec := stateful.Record{Headers: row.Headers}
	if when, _ := rec.Header(stateful.DeadLetterTime); string(row.Key) != "k" || when != "1970-01-01T00:00:01Z" {
		t.Errorf("the dead letter has key %q and time %q", row.Key, when)
	}
}
