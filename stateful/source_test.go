package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// source is a log with positions that delivers up to inFlight envelopes of a partition at
// once. When one is nacked it waits for all and goes on from the oldest that was not acked.
type source struct {
	traits   stateful.SourceTraits
	logID    string
	size     int // of a batch
	inFlight int

	mu         sync.Mutex
	logs       map[stateful.Partition][]stateful.Record
	more       chan struct{}
	ends       bool // the logs are complete: EndOfInput follows
	groups     []string
	assigned   []map[stateful.Partition]stateful.Position
	committed  []string
	deliveries int
	touch      func(n int, msg *message.Message) *message.Message // may replace, ack or nack it
	owner      stateful.Owner
	closed     int
	revoked    bool
	lost       map[int64]int64 // by offset, how many records from there on are not delivered
}

func newSource(values ...string) *source {
	s := &source{
		logID: "log-1", size: 2, inFlight: 4, logs: make(map[stateful.Partition][]stateful.Record), more: make(chan struct{}),
		traits: stateful.SourceTraits{Position: true, Seek: true, StableID: true, FIFO: true, Partitions: 1},
	}
	s.add("in", 0, values...)
	return s
}

func (s *source) add(topic string, index int32, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := stateful.Partition{Topic: topic, Index: index}
	if s.logs[p] == nil {
		s.logs[p] = []stateful.Record{}
	}
	for _, v := range values {
		s.logs[p] = append(s.logs[p], stateful.Record{Value: []byte(v), Offset: int64(len(s.logs[p])), Time: stateful.NoTime})
	}
	close(s.more)
	s.more = make(chan struct{})
}

func (s *source) Traits() stateful.SourceTraits { return s.traits }
func (s *source) Close() error                  { return nil }
func (s *source) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errors.New("only attached")
}

func (s *source) Committed(group string, p stateful.Partition, pos stateful.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = append(s.committed, fmt.Sprintf("%s %s %s:%d", group, p, pos.Log, pos.Offset))
}

func (s *source) Attach(group string, _ []string, o stateful.Owner) (message.Subscriber, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups, s.owner = append(s.groups, group), o
	return &attached{s: s, o: o}, nil
}

type attached struct {
	s *source
	o stateful.Owner
}

func (a *attached) Close() error { a.s.mu.Lock(); a.s.closed++; a.s.mu.Unlock(); return nil }
func (a *attached) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errors.New("only batches")
}

func (a *attached) AtEnd(p stateful.Partition, pos stateful.Position) bool {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return pos.Offset == int64(len(a.s.logs[p]))
}

func (a *attached) SubscribeBatches(ctx context.Context, topic string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	var wg sync.WaitGroup
	a.s.mu.Lock()
	for p := range a.s.logs {
		if p.Topic == topic {
			wg.Go(func() { a.serve(ctx, p, out) })
		}
	}
	a.s.mu.Unlock()
	go func() { <-ctx.Done(); wg.Wait(); close(out) }()
	return out, nil
}

func (a *attached) serve(ctx context.Context, p stateful.Partition, out chan<- *message.Message) {
	s := a.s
	at, err := a.o.Assigned(ctx, []stateful.Partition{p})
	if err != nil {
		return
	}
	s.mu.Lock()
	s.assigned = append(s.assigned, at)
	s.mu.Unlock()
	next := at[p].Offset
	for ctx.Err() == nil && !s.isRevoked() {
		next = s.round(ctx, p, next, out)
	}
}

func (s *source) isRevoked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revoked
}

// round delivers from next on until something is nacked, and returns where to go on.
func (s *source) round(ctx context.Context, p stateful.Partition, next int64, out chan<- *message.Message) int64 {
	type sent struct {
		msg   *message.Message
		start int64
	}
	var flying []sent
	settled := func(f sent) (nacked bool) {
		select {
		case <-f.msg.Acked():
			return false
		case <-f.msg.Nacked():
		case <-ctx.Done():
		}
		return true
	}
	for {
		b, more := s.next(p, next)
		if b != nil && len(flying) < s.inFlight {
			mctx, cancel := context.WithCancel(ctx)
			msg := stateful.NewEnvelope(mctx, b)
			s.mu.Lock()
			s.deliveries++
			n, touch := s.deliveries, s.touch
			s.mu.Unlock()
			if touch != nil {
				msg = touch(n, msg)
			}
			select {
			case out <- msg:
			case <-ctx.Done():
				cancel()
				return next
			}
			flying = append(flying, sent{msg, next})
			next = b.End
			go func() { // as Watermill's own sources do
				select {
				case <-msg.Acked():
				case <-msg.Nacked():
				case <-ctx.Done():
				}
				cancel()
			}()
			if b.EndOfInput {
				for _, f := range flying {
					if settled(f) {
						return f.start
					}
				}
				<-ctx.Done()
				return next
			}
			continue
		}
		if len(flying) == 0 {
			select {
			case <-more:
			case <-ctx.Done():
				return next
			}
			continue
		}
		if f := flying[0]; settled(f) {
			for _, g := range flying[1:] {
				settled(g)
			}
			return f.start
		}
		flying = flying[1:]
	}
}

func (s *source) next(p stateful.Partition, from int64) (*stateful.Batch, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.logs[p]
	from += s.lost[from]
	to := min(int64(len(log)), from+int64(s.size))
	if from >= int64(len(log)) {
		if !s.ends {
			return nil, s.more
		}
		to = from
	}
	b := &stateful.Batch{Partition: p, Log: s.logID, Start: from, End: to, EndOfInput: s.ends && to == int64(len(log))}
	b.Records = append(b.Records, log[from:to]...)
	return b, s.more
}

// system is a processor on a real router, running in a bubble.
type system struct {
	*rig
	router *message.Router
	src    *source
	cancel context.CancelFunc
	ended  chan error
}

// runSystem starts a processor of h on src and a real router. It must be called in a bubble.
func runSystem(t *testing.T, src message.Subscriber, h stateful.Handler, change ...func(*stateful.Config)) *system {
	t.Helper()
	sys := &system{rig: newRig(t, h, append(change, func(c *stateful.Config) { c.Source = src })...)}
	sys.src, _ = src.(*source)
	sys.start()
	return sys
}

// start makes a processor and a router and runs them.
func (s *system) start(mw ...message.HandlerMiddleware) {
	s.t.Helper()
	s.router = newRouter(s.t)
	s.router.AddMiddleware(mw...)
	var err error
	if s.p, err = stateful.NewProcessor(s.cfg); err == nil {
		err = s.p.AddTo(s.router, s.handler)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- s.p.Run(ctx, s.router) }()
	synctest.Wait()
}

// stop ends the run as a signal does and returns its error.
func (s *system) stop() error {
	s.cancel()
	return <-s.ended
}

// scatter makes the order of the router's goroutines random.
func scatter(rand func() time.Duration) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			time.Sleep(rand()) // in a bubble
			runtime.Gosched()
			return h(msg)
		}
	}
}
