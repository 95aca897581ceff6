package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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

// bomb is a value whose encoding panics as often as it is told to.
type bomb struct{ n byte }

var bombs atomic.Int32

func (b bomb) MarshalBinary() ([]byte, error) {
	if bombs.Add(-1) >= 0 {
		panic("boom")
	}
	return []byte{b.n}, nil
}

func (b *bomb) UnmarshalBinary(d []byte) error { b.n = d[0]; return nil }

// tabled counts per value in a table, whose values are encoded by the commit.
type tabled struct {
	*adder
	table *stateful.Table[bomb]
}

func (h tabled) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[bomb]{})
	h.table = stateful.NewTable(t, "n", codec)
	return h, err
}

func (h tabled) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	c, err := h.table.Load(ctx, rec.Value)
	if err != nil {
		return err
	}
	v, _ := c.Value()
	v.n++
	h.table.Put(c, v)
	return say(tx, h.to, "%s %d", rec.Value, v.n)
}

// It leaves half a commit behind, which no record is to blame for.
func TestAPanicWhileCommittingIsTheTasks(t *testing.T) {
	for _, rows := range []int{1000, 2} {
		t.Run(fmt.Sprintf("rows=%d", rows), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // for the back-off
				r := newRig(t, tabled{adder: sums()}, func(c *stateful.Config) { c.Limits.CommitRows = rows })
				b := r.batch("in", "a", "b", "c")
				bombs.Store(5)
				for range 5 {
					wantErr(t, r.process(b), "boom")
				}
				if err := r.process(b); err != nil {
					t.Fatal(err)
				}
				r.want("out: a 1", "out: b 1", "out: c 1")
			})
		})
	}
}
