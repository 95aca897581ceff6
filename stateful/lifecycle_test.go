package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// F2: what was in hand when Run's context ends is worked off and published, and all is closed.
func TestRunDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(40)
		src := newSource(values...)
		h := sums()
		h.before = func(ctx context.Context, _ *stateful.Tx, _ *stateful.Record) error {
			time.Sleep(time.Second) // longer than the context lives
			return ctx.Err()
		}
		sys := runSystem(t, src, h)
		time.Sleep(2500 * time.Millisecond)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		synctest.Wait() // the router closes subscribers on their own time
		if n := len(sys.sink.all()); n < 8 || n > 12 {
			t.Errorf("%d outputs, want those of the envelopes in hand and no more", n)
		}
		if !sys.sink.closed || src.closed == 0 {
			t.Errorf("the outbox is closed: %v, the subscription %d times", sys.sink.closed, src.closed)
		}
		if err := sys.process(sys.batch("in", "a 1")); !errors.Is(err, stateful.ErrClosed) {
			t.Errorf("after Run: %v, want ErrClosed", err)
		}
		wantErr(t, sys.p.Run(context.Background(), sys.router), "once")
		sys.start()
		time.Sleep(time.Minute)
		sys.want(want...)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestRunPublishesWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(4)
		src := newSource(values...)
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) { c.Source = src }), src: src}
		sys.sink.hold()
		sys.start()
		sys.want()
		time.AfterFunc(20*time.Second, sys.sink.release)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		sys.want(want...)
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sums()
		h.before = func(ctx context.Context, _ *stateful.Tx, _ *stateful.Record) error { <-ctx.Done(); return ctx.Err() }
		sys := runSystem(t, newSource("a 1", "a 2"), h, func(c *stateful.Config) { c.DrainFor = 10 * time.Second })
		start := time.Now()
		wantErr(t, sys.stop(), "Config.DrainFor")
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A partition that pauses ends its pause with the run; ticks do not pile up behind it.
func TestPausedPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healed atomic.Bool
		h := sums()
		h.before = func(_ context.Context, _ *stateful.Tx, rec *stateful.Record) error {
			if string(rec.Value) == "a 1" && !healed.Load() {
				return errors.New("the service is down")
			}
			return nil
		}
		retry := func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				msg.SetContext(stateful.WithPolicy(msg.Context(), func(p *stateful.Policy) {
					p.Retry = &stateful.Retry{Retries: 2, Base: time.Second, Max: 5 * time.Second, OnExhausted: stateful.Pause}
				}))
				return next(msg)
			}
		}
		src := newSource("a 0", "a 1", "a 2")
		sys := &system{rig: newRig(t, h, func(c *stateful.Config) { c.Source = src }), src: src}
		sys.start(retry)
		time.Sleep(time.Minute)
		synctest.Wait()
		before := runtime.NumGoroutine()
		wantErr(t, sys.p.Ready(), "test/sums/0", "the service is down")
		sys.want("out: a 0") // what is done is committed and waits for nobody
		time.Sleep(time.Hour)
		synctest.Wait()
		if after := runtime.NumGoroutine(); after > before+10 {
			t.Errorf("an hour of pause took the goroutines from %d to %d", before, after)
		}
		start := time.Now()
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the pause held the end back for %v", took)
		}
		sys.start(retry)
		time.Sleep(time.Minute)
		healed.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := sys.p.Ready(); err != nil {
			t.Errorf("not ready again: %v", err)
		}
		sys.want("out: a 0", "out: a 1", "out: a 3")
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestExhaustedRetriesCanStop(t *testing.T) {
	h := sums()
	h.before = func(context.Context, *stateful.Tx, *stateful.Record) error { return errors.New("never") }
	r := newRig(t, h)
	r.policy(stateful.Policy{Retry: &stateful.Retry{OnExhausted: stateful.Stop}})
	wantErr(t, r.process(r.batch("in", "a 1")), "never")
	wantErr(t, r.p.Ready(), "never")
	r.want()
}

// F4: rows that nobody takes hold the source back.
func TestFullOutboxPausesTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(40)
		src := newSource(values...)
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) { c.Source, c.Limits.OutboxRows = src, 6 }), src: src}
		sys.sink.hold()
		sys.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		wantErr(t, sys.p.Ready(), "the outbox is full")
		at := src.committed[len(src.committed)-1]
		// What was in flight when the outbox became full is done too.
		if i := slices.Index([]string{"test.sums in/0 log-1:6", "test.sums in/0 log-1:8", "test.sums in/0 log-1:10", "test.sums in/0 log-1:12"}, at); i < 0 {
			t.Errorf("the task came to %q", at)
		}
		sys.sink.release()
		time.Sleep(time.Second)
		synctest.Wait()
		sys.want(want...)
		if err := sys.p.Ready(); err != nil {
			t.Error(err)
		}
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// S4: revoking gives back what is in hand and closes the task for good.
func TestRevokedTaskIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		h := sums()
		h.before = func(_ context.Context, _ *stateful.Tx, rec *stateful.Record) error {
			if string(rec.Value) == "a 1" {
				return errors.New("never")
			}
			return nil
		}
		src := newSource("a 0", "a 1")
		src.size = 1
		sys := &system{rig: newRig(t, h, func(c *stateful.Config) {
			c.Source = src
			b.Backend, c.Backend = c.Backend, b
		}), src: src}
		sys.start(func(next message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				msg.SetContext(stateful.WithPolicy(msg.Context(), func(p *stateful.Policy) {
					p.Retry = &stateful.Retry{Base: time.Minute, Max: time.Hour}
				}))
				return next(msg)
			}
		})
		time.Sleep(time.Second)
		src.mu.Lock()
		src.revoked = true
		src.mu.Unlock()
		start := time.Now()
		if err := src.owner.Revoked(context.Background(), []stateful.Partition{{Topic: "in"}}); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("revoking took %v: it waited for a pause", took)
		}
		synctest.Wait()
		if opens, _ := b.count(); opens != 1 {
			t.Errorf("the task was opened %d times: it is another's now", opens)
		}
		sys.want("out: a 0")
		sys.cancel()
		<-sys.ended
	})
}

// A source learns what was committed, in order, also one that is a handler's own.
func TestSourceLearnsWhatWasCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, _ := numbered(6)
		src := newSource(values...)
		sys := runSystem(t, nil, stateful.From(src, sums()))
		time.Sleep(time.Second)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		var want []string
		for _, at := range []int{2, 4, 6} {
			want = append(want, fmt.Sprintf("test.sums in/0 log-1:%d", at))
		}
		if got := slices.Compact(src.committed); !slices.Equal(got, want) {
			t.Errorf("it was told %q, want %q", got, want)
		}
	})
}

// S2: what dies with the process is no reason for the source to forget: the next process reads it all again.
func TestSourceIsNotToldOfStateThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, _ := numbered(6)
		src := newSource(values...)
		src.traits.Domain = stateful.DomainMachine
		sys := runSystem(t, nil, stateful.From(src, sums()))
		time.Sleep(time.Second)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		if len(src.committed) > 0 {
			t.Errorf("it was told %q of state in memory", src.committed)
		}
	})
}

// S2: no second look is needed when the position is where the source goes on.
func TestSourceGoesOnAtThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(6)
		src := newSource(values...)
		sys := runSystem(t, src, sums())
		time.Sleep(time.Second)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		n := src.deliveries
		sys.start()
		time.Sleep(time.Second)
		synctest.Wait()
		if src.deliveries != n {
			t.Errorf("%d envelopes were delivered again", src.deliveries-n)
		}
		at := src.assigned[1][stateful.Partition{Topic: "in"}]
		if at != (stateful.Position{Log: "log-1", Offset: 6}) {
			t.Errorf("it was told to go on at %+v", at)
		}
		sys.want(want...)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// S5: a subscription that ends by itself is a failure.
func TestSubscriptionThatEndsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := runSystem(t, endsAtOnce{}, sums())
		wantErr(t, <-sys.ended, "ended by itself")
		wantErr(t, sys.p.Ready(), "ended by itself")
	})
}

type endsAtOnce struct{}

func (endsAtOnce) Close() error { return nil }
func (endsAtOnce) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	c := make(chan *message.Message)
	close(c)
	return c, nil
}
