package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// shut is a breaker that lets nothing through and says when it was asked.
type shut struct{ asked chan struct{} }

func (b shut) Allow() (func(error), time.Duration) {
	select {
	case b.asked <- struct{}{}:
	default:
	}
	return nil, time.Hour
}

// The pause comes before the batch's first record: what is undone must not be that of a commit long gone.
func TestAnEndedPauseOfTheBreakerUndoesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(r *rig, cancel context.CancelFunc) error
		want error
	}{
		{"its context ends", func(_ *rig, cancel context.CancelFunc) error { cancel(); return nil }, context.Canceled},
		{"the processor closes", func(r *rig, _ context.CancelFunc) error { return r.p.Close(context.Background()) }, stateful.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, sums())
			r.send("a 1", "a 2", "a 3")
			before := r.ctx
			b := shut{make(chan struct{}, 1)}
			r.policy(stateful.Policy{Breaker: b})
			ctx, cancel := context.WithCancel(r.ctx)
			defer cancel()
			r.ctx = ctx
			batch := r.batch("in", "a 4")
			done := make(chan error, 1)
			go func() { done <- r.process(batch) }()
			<-b.asked
			if err := tt.end(r, cancel); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("the batch ends with %v, want %v", err, tt.want)
			}
			r.ctx = before
			r.restart()
			if err := r.process(batch); err != nil {
				t.Fatal(err)
			}
			r.want("out: a 1", "out: a 3", "out: a 6", "out: a 10")
		})
	}
}

// It leaves half a commit behind, which no record is to blame for.
func TestAPanicWhileCommittingIsTheTasks(t *testing.T) {
	for _, rows := range []int{1000, 2} {
		t.Run(fmt.Sprintf("rows=%d", rows), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // for the back-off
				bombs := 5
				b := scripted(nil)
				b.submit = func(_ int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
					if bombs--; bombs >= 0 {
						panic("boom")
					}
					return apply()
				}
				r := newRig(t, sums(), func(c *stateful.Config) {
					c.Limits.CommitRows = rows
					b.Backend, c.Backend = c.Backend, b
				})
				batch := r.batch("in", "a 1", "b 1", "c 1")
				for range 5 {
					wantErr(t, r.process(batch), "boom")
				}
				if err := r.process(batch); err != nil {
					t.Fatal(err)
				}
				r.want("out: a 1", "out: b 1", "out: c 1")
			})
		})
	}
}
