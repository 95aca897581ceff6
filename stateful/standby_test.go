package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// queue is a broker without partitions: one message is in flight, and goes to any subscription
// until it is acked.
type queue struct {
	flying chan struct{} // holds one token

	mu   sync.Mutex
	msgs []string
	done int
	more chan struct{}
}

func newQueue(values ...string) *queue {
	q := &queue{flying: make(chan struct{}, 1), more: make(chan struct{}, 1)}
	q.flying <- struct{}{}
	q.add(values...)
	return q
}

func (q *queue) add(values ...string) {
	q.mu.Lock()
	q.msgs = append(q.msgs, values...)
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *queue) next() *message.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done == len(q.msgs) {
		return nil
	}
	return message.NewMessage(fmt.Sprint(q.done), []byte(q.msgs[q.done]))
}

// client is one process's subscriber to a queue.
type client struct {
	*queue
	mu            sync.Mutex
	subscriptions int // since the start
	now           int // of them open
}

func (c *client) counts() (all, now int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subscriptions, c.now
}

func (c *client) Close() error { return nil }

func (c *client) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	c.mu.Lock()
	c.subscriptions++
	c.now++
	c.mu.Unlock()
	go func() {
		defer close(out)
		for ctx.Err() == nil && topic == "in" {
			c.deliver(ctx, out)
		}
		<-ctx.Done()
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	return out, nil
}

func (c *client) deliver(ctx context.Context, out chan<- *message.Message) {
	select {
	case <-c.flying:
		defer func() { c.flying <- struct{}{} }()
	case <-ctx.Done():
		return
	}
	msg := c.next()
	if msg == nil {
		select {
		case <-c.more:
		case <-ctx.Done():
		}
		return
	}
	msg.SetContext(ctx)
	select {
	case out <- msg:
	case <-ctx.Done():
		return
	}
	select {
	case <-msg.Acked():
		c.queue.mu.Lock()
		c.done++
		c.queue.mu.Unlock()
	case <-msg.Nacked():
		time.Sleep(time.Millisecond)
	case <-ctx.Done():
	}
}

// leaser is a backend whose leases a test can spoil, for one process.
type leaser struct {
	*memory.Backend
	mu    sync.Mutex
	opens int
	renew func(ctx context.Context, really func() error) error
	ask   func(ctx context.Context) error
	// how long a lease takes to be released
	releasing time.Duration
}

func (l *leaser) Lease(ctx context.Context, id stateful.TaskID, now time.Time, ttl time.Duration) (stateful.Lease, error) {
	l.mu.Lock()
	ask := l.ask
	l.mu.Unlock()
	if ask != nil {
		if err := ask(ctx); err != nil {
			return nil, err
		}
	}
	got, err := l.Backend.Lease(ctx, id, now, ttl)
	return &spoiled{Lease: got, l: l}, err
}

func (l *leaser) opened() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opens
}

type spoiled struct {
	stateful.Lease
	l *leaser
}

func (s *spoiled) Open(ctx context.Context) (stateful.Store, stateful.Head, error) {
	s.l.mu.Lock()
	s.l.opens++
	s.l.mu.Unlock()
	return s.Lease.Open(ctx)
}

func (s *spoiled) Renew(ctx context.Context, now time.Time) error {
	really := func() error { return s.Lease.Renew(ctx, now) }
	s.l.mu.Lock()
	renew := s.l.renew
	s.l.mu.Unlock()
	if renew != nil {
		return renew(ctx, really)
	}
	return really()
}

func (s *spoiled) Release(ctx context.Context) error {
	time.Sleep(s.l.releasing)
	return s.Lease.Release(ctx)
}

func (l *leaser) onRenew(f func(ctx context.Context, really func() error) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renew = f
}

func (l *leaser) onAsk(f func(ctx context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ask = f
}

// process is one of several on a queue, a backend and a sink.
type process struct {
	*system
	client *client
	leaser *leaser
}

// twins starts two processes, one after the other. It must be called in a bubble.
func twins(t *testing.T, q *queue, h stateful.Handler, change ...func(*stateful.Config)) (first, second *process) {
	t.Helper()
	sink, backend := newSink(), memory.New()
	start := func() *process {
		p := &process{client: &client{queue: q}, leaser: &leaser{Backend: backend}}
		p.system = &system{rig: newRig(t, h, append(change, func(c *stateful.Config) {
			c.Source, c.Backend, c.Outbox, c.Now = p.client, p.leaser, sink, time.Now
		})...)}
		p.sink = sink
		p.start()
		return p
	}
	return start(), start()
}

// waitEnd returns what Run does, which should end by itself.
func (s *system) waitEnd() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(24 * time.Hour):
		s.t.Error("Run does not end")
		return s.stop()
	}
}

func (p *process) wantSubscribed(want bool) {
	p.t.Helper()
	if _, now := p.client.counts(); (now > 0) != want {
		p.t.Errorf("it has %d subscriptions, want some: %v", now, want)
	}
	if err := p.p.Ready(); want && err != nil || !want && !errors.Is(err, stateful.ErrStandby) {
		p.t.Errorf("Ready returns %v; it works: %v", err, want)
	}
}

func (p *process) wantEnd() {
	p.t.Helper()
	if err := p.stop(); err != nil {
		p.t.Error(err)
	}
}

// O2: of two processes on a source without partitions one works, and the other does not even subscribe.
func TestOneProcessWorksAndTheOtherStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values, want := numbered(9)
		q := newQueue(values[:3]...)
		h := sums()
		h.inputs = []string{"in", "other"}
		first, second := twins(t, q, h)
		time.Sleep(time.Hour)
		first.wantSubscribed(true)
		second.wantSubscribed(false)
		if err := second.p.Ready(); err.Error() != `handler "sums": stands by: another process has the lease` {
			t.Errorf("Ready returns %q", err)
		}
		if all, _ := second.client.counts(); all != 0 || second.leaser.opened() != 0 {
			t.Errorf("while it stood by it subscribed %d times and opened the task %d times", all, second.leaser.opened())
		}
		first.wantEnd()
		q.add(values[3:6]...)
		time.Sleep(10*time.Second/3 + time.Second)
		second.wantSubscribed(true)
		first.start()
		q.add(values[6:]...)
		time.Sleep(time.Hour)
		first.wantSubscribed(false)
		first.want(want...)
		if n := first.leaser.opened() + second.leaser.opened(); n != 2 {
			t.Errorf("the task was opened %d times, want once by each who had the lease", n)
		}
		first.wantEnd()
		second.wantEnd()
	})
}

// A process that has the lease is subscribed when the router says that it runs: what is published then is
// not lost on a source that keeps nothing.
func TestWhoGetsTheLeaseIsSubscribedWhenTheRouterRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue(), sums())
		<-first.router.Running()
		<-second.router.Running()
		first.wantSubscribed(true)
		first.wantEnd()
		second.wantEnd()
	})
}

// The lease is held until all is worked off and published, and is free then.
func TestTheLeaseIsHeldThroughTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue("a 1"), sums(), func(c *stateful.Config) { c.DrainFor = time.Hour })
		first.sink.hold()
		first.client.add("a 2")
		time.Sleep(time.Second)
		first.cancel()
		time.Sleep(30 * time.Minute)
		second.wantSubscribed(false)
		first.sink.release()
		if err := first.waitEnd(); err != nil {
			t.Error(err)
		}
		free, err := first.leaser.Backend.Lease(t.Context(), stateful.TaskID{App: "test", Handler: "sums"}, time.Now(), time.Second)
		if err != nil {
			t.Fatalf("when Run returned: %v", err)
		}
		if err := free.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second/3 + time.Second)
		second.wantSubscribed(true)
		second.wantEnd()
		second.want("out: a 1", "out: a 3")
	})
}

func TestRunWaitsForTheReleaseOfItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue("a 1"), sums())
		first.leaser.releasing = time.Second
		first.cancel()
		if err := first.waitEnd(); err != nil {
			t.Error(err)
		}
		free, err := first.leaser.Backend.Lease(t.Context(), stateful.TaskID{App: "test", Handler: "sums"}, time.Now(), time.Second)
		if err != nil {
			t.Fatalf("when Run returned: %v", err)
		}
		if err := free.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		second.wantEnd()
	})
}

var errNet = errors.New("the network is down")

// A lease that cannot be renewed is lost before the server thinks so: then the subscription
// ends and the task closes, another process takes over, and this one stands by.
func TestALeaseThatCannotBeRenewedIsLostBeforeItsTime(t *testing.T) {
	for name, fail := range map[string]func(ctx context.Context, really func() error) error{
		"an error": func(context.Context, func() error) error { return errNet },
		"silence":  func(ctx context.Context, _ func() error) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				values, want := numbered(9)
				q := newQueue(values[:3]...)
				first, second := twins(t, q, sums())
				time.Sleep(time.Minute)
				var renewed time.Time
				first.leaser.onRenew(func(_ context.Context, really func() error) error { renewed = time.Now(); return really() })
				time.Sleep(time.Minute)
				first.leaser.onRenew(fail)
				first.leaser.onAsk(func(ctx context.Context) error { return fail(ctx, nil) })
				for range 2000 {
					if _, now := first.client.counts(); now == 0 {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				if after := time.Since(renewed); after < 8*time.Second || after >= 10*time.Second {
					t.Errorf("it gave up %v after it was renewed last; the lease is for 10 s", after)
				}
				if err := first.p.Ready(); err == nil || errors.Is(err, stateful.ErrStandby) {
					t.Errorf("Ready returns %v, want that the lease was lost", err)
				}
				time.Sleep(10 * time.Second)
				first.leaser.onRenew(nil)
				first.leaser.onAsk(nil)
				q.add(values[3:6]...)
				time.Sleep(time.Minute)
				first.wantSubscribed(false)
				second.wantSubscribed(true)
				second.wantEnd()
				q.add(values[6:]...)
				time.Sleep(10 * time.Second)
				first.wantSubscribed(true)
				first.want(want...)
				first.wantEnd()
			})
		})
	}
}

// Two failures are no loss: the lease is tried again soon, within its time.
func TestALeaseSurvivesFailuresToRenewIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue(), sums())
		n := 0
		first.leaser.onRenew(func(_ context.Context, really func() error) error {
			if n++; n%3 != 0 {
				return errNet
			}
			return really()
		})
		time.Sleep(time.Hour)
		if all, _ := first.client.counts(); all != 1 {
			t.Errorf("it subscribed %d times, want once", all)
		}
		first.wantEnd()
		second.wantEnd()
	})
}

// A holder that slept through the end of its lease is fenced by who has it now, stands by, and does
// not fence back.
func TestASleeperIsFencedAndStandsBy(t *testing.T) {
	for name, learns := range map[string]bool{"it learns so by renewing": true, "it learns so by its commit": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				values, want := numbered(6)
				q := newQueue(values[:2]...)
				first, second := twins(t, q, sums())
				time.Sleep(time.Second)
				// To the server nothing comes, and to the process no time passes.
				first.leaser.onRenew(func(context.Context, func() error) error { return nil })
				time.Sleep(time.Minute)
				second.wantSubscribed(true)
				first.leaser.onRenew(nil)
				if learns {
					time.Sleep(time.Minute)
				}
				q.add(values[2:]...) // the first waits for it, and not for its next renewal
				time.Sleep(time.Minute)
				first.wantSubscribed(false)
				second.wantSubscribed(true)
				first.want(want...)
				if a, b := first.leaser.opened(), second.leaser.opened(); a > 2 || b != 1 {
					t.Errorf("the task was opened %d and %d times: they fenced each other", a, b)
				}
				first.wantEnd()
				second.wantEnd()
			})
		})
	}
}

// Somebody opened the task without a lease. To open it again under ours would start a fight.
func TestATaskFencedUnderItsLeaseStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue("a 1")
		first, second := twins(t, q, sums())
		time.Sleep(time.Second)
		if _, _, err := first.leaser.Open(t.Context(), stateful.TaskID{App: "test", Handler: "sums"}); err != nil {
			t.Fatal(err)
		}
		q.add("a 2")
		if err := first.waitEnd(); !errors.Is(err, stateful.ErrFenced) {
			t.Errorf("Run returns %v, want ErrFenced", err)
		}
		if n := first.leaser.opened(); n != 1 {
			t.Errorf("it opened the task %d times", n)
		}
		time.Sleep(time.Minute)
		second.wantSubscribed(true)
		second.want("out: a 1", "out: a 3")
		second.wantEnd()
	})
}

// Neither starting nor ending waits for a server that does not answer.
func TestALeaseThatIsNotAnsweredHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := &leaser{Backend: memory.New(), ask: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) {
			c.Source, c.Backend, c.Now = &client{queue: newQueue()}, silent, time.Now
		})}
		sys.start()
		began := time.Now()
		<-sys.router.Running()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the router runs after %v", took)
		}
		time.Sleep(time.Minute)
		if err := sys.p.Ready(); err == nil || errors.Is(err, stateful.ErrStandby) {
			t.Errorf("Ready returns %v, want a failure", err)
		}
		began = time.Now()
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Run ended after %v", took)
		}
	})
}

// A subscription that cannot be made once the lease is there is a failure (S5).
func TestASubscriptionThatFailsAfterStandingByIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue(), sums())
		second.wantEnd()
		broken := &system{rig: newRig(t, sums(), func(c *stateful.Config) {
			c.Source, c.Backend, c.Now = noSubscriber{}, first.leaser, time.Now
		})}
		broken.start()
		time.Sleep(time.Minute)
		first.wantEnd()
		if err := broken.waitEnd(); !errors.Is(err, errNet) {
			t.Errorf("Run returns %v", err)
		}
	})
}

type noSubscriber struct{}

func (noSubscriber) Close() error { return nil }
func (noSubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errNet
}

// A failure beside a stand-by is a failure.
func TestReadyTellsAFailureFromStandingBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := twins(t, newQueue(), sums())
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) {
			c.Source, c.Backend, c.Now = second.client, first.leaser, time.Now
		})}
		fails := sums()
		fails.name = "fails"
		sys.router = newRouter(t)
		var err error
		if sys.p, err = stateful.NewProcessor(sys.cfg); err == nil {
			err = errors.Join(sys.p.AddTo(sys.router, sums()), sys.p.AddTo(sys.router, stateful.From(endsAtOnce{}, fails)))
		}
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, sys.p.Run(t.Context(), sys.router), "ended by itself")
		err = sys.p.Ready()
		wantErr(t, err, "ended by itself", "stands by")
		if errors.Is(err, stateful.ErrStandby) {
			t.Error("a failure is taken for a stand-by")
		}
		first.wantEnd()
		second.wantEnd()
	})
}

func TestFaultsOfLeaseTimesAreNamed(t *testing.T) {
	for _, d := range [][2]time.Duration{{time.Second, -1}, {time.Second, 600 * time.Millisecond}} {
		_, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: memory.New(), LeaseFor: d[0], RenewEvery: d[1]})
		wantErr(t, err, "RenewEvery is")
	}
}
