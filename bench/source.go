package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

const (
	inputTopic  = "events"
	outputTopic = "counts"
	logID       = "bench"

	inFlight  = 4 // envelopes of a partition
	minBatch  = 1024
	maxBatch  = 64 << 10
	batchSize = 8 << 20 // payload bytes of the largest batch
)

// source is a [stateful.Source] of prepared events. It delivers each once, and fails when
// one is nacked: a benchmark in which anything is tried again measures something else.
// A source is used for one run.
type source struct {
	pool   *pool
	total  int64 // events to deliver, about
	pace   *pace // nil: as fast as they are taken
	open   bool  // the input does not end
	fixed  bool  // batches do not grow
	single bool  // one message per event, one in flight, as stock subscribers do

	owner stateful.Owner
	start chan struct{} // closed to begin
	done  chan struct{} // closed when all is acked, or failed
	acked func(recs []stateful.Record)

	mu   sync.Mutex
	left int // partitions not finished
	err  error
}

func newSource(p *pool, total int64) *source {
	return &source{pool: p, total: total, left: partitions, start: make(chan struct{}), done: make(chan struct{})}
}

func (s *source) Traits() stateful.SourceTraits {
	return stateful.SourceTraits{
		Position: true, Seek: true, StableID: true, FIFO: true,
		Partitions: partitions, Partitioner: stateful.Murmur2Partitioner, Domain: stateful.DomainServer,
	}
}

func (s *source) Attach(_ string, _ []string, o stateful.Owner) (message.Subscriber, error) {
	s.owner = o
	return s, nil
}

// Subscribe is for a bare router.
func (s *source) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s.SubscribeBatches(ctx, topic)
}

func (s *source) SubscribeBatches(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if s.owner != nil {
		parts := make([]stateful.Partition, partitions)
		for i := range parts {
			parts[i] = stateful.Partition{Topic: topic, Index: int32(i)}
		}
		if _, err := s.owner.Assigned(ctx, parts); err != nil {
			return nil, fmt.Errorf("assign: %w", err)
		}
	}
	out := make(chan *message.Message)
	var wg sync.WaitGroup
	for i := range partitions {
		wg.Go(func() {
			<-s.start
			r := reader{s: s, ctx: ctx, out: out, part: i, end: s.pool.share(i, s.total)}
			deliver := r.batches
			if s.single {
				deliver = r.singles
			}
			s.finished(deliver())
		})
	}
	go func() {
		wg.Wait()
		<-ctx.Done() // a subscription that ends by itself is a failure
		close(out)
	}()
	return out, nil
}

func (s *source) Close() error { return nil }

func (s *source) finished(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	if s.left--; s.left == 0 || err != nil && s.left >= 0 {
		s.left = min(s.left, 0)
		select {
		case <-s.done:
		default:
			close(s.done)
		}
	}
}

// wait begins and returns when everything is acked.
func (s *source) wait(ctx context.Context) error {
	close(s.start)
	select {
	case <-s.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// reader delivers one partition.
type reader struct {
	s         *source
	ctx       context.Context
	out       chan<- *message.Message
	part      int
	next, end int64

	slots   [inFlight]slot // a ring; the oldest at head
	head, n int
	level   int
}

// slot is an envelope in flight. Its records are used again.
type slot struct {
	recs   []stateful.Record
	msg    *message.Message
	filled time.Duration
	sent   time.Time
}

var errNacked = errors.New("a message was nacked")

// batches delivers envelopes of 1,024 records, and of twice as many for as long as handling one
// takes more than twice as long as filling it, like the embedded log's.
func (r *reader) batches() error {
	for r.next < r.end {
		if r.n == inFlight {
			if err := r.settle(); err != nil {
				return err
			}
		}
		n, err := r.available()
		if err != nil {
			return err
		}
		if err := r.deliver(n); err != nil {
			return err
		}
	}
	for r.n > 0 {
		if err := r.settle(); err != nil {
			return err
		}
	}
	return nil
}

// available returns how many records to deliver now, at least one. More than the pool holds
// are never out at once: their memory is used again.
func (r *reader) available() (int64, error) {
	n := min(r.end-r.next, int64(min(minBatch<<r.level, maxBatch)), int64(len(r.s.pool.parts[r.part].at)/inFlight))
	if r.s.pace == nil {
		return max(n, 1), nil
	}
	due, err := r.s.pace.due(r.ctx, r.part, r.next)
	return min(max(n, 1), due-r.next), err
}

func (r *reader) deliver(n int64) error {
	t0 := time.Now()
	sl := &r.slots[(r.head+r.n)%inFlight]
	if int64(cap(sl.recs)) < n {
		sl.recs = make([]stateful.Record, 0, n) // growing by appends would copy
	}
	sl.recs = r.s.pool.fill(sl.recs[:0], r.part, r.next, int(n))
	if r.s.pace != nil {
		r.s.pace.stamp(sl.recs, r.part)
	}
	b := &stateful.Batch{
		Partition: stateful.Partition{Topic: inputTopic, Index: int32(r.part)}, Log: logID,
		Start: r.next, End: r.next + n, Records: sl.recs, EndOfInput: r.next+n == r.end && !r.s.open,
	}
	sl.msg = stateful.NewEnvelope(r.ctx, b)
	sl.sent = time.Now()
	sl.filled = sl.sent.Sub(t0)
	select {
	case r.out <- sl.msg:
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	r.next += n
	r.n++
	return nil
}

// settle waits for the oldest envelope.
func (r *reader) settle() error {
	sl := &r.slots[r.head]
	select {
	case <-sl.msg.Acked():
	case <-sl.msg.Nacked():
		return errNacked
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
	if r.s.acked != nil {
		r.s.acked(sl.recs)
	}
	if !r.s.fixed && len(sl.recs) >= minBatch<<r.level {
		if time.Since(sl.sent) <= 2*sl.filled {
			r.level = max(r.level-1, 0)
		} else if minBatch<<r.level < maxBatch && minBatch<<r.level*eventBytes < batchSize {
			r.level++
		}
	}
	sl.msg = nil
	r.head, r.n = (r.head+1)%inFlight, r.n-1
	return nil
}

// singles delivers a message for every event, the next when one is acked. They have no
// UUIDs, which would be the generator's cost.
func (r *reader) singles() error {
	recs := makeRecords()
	for r.next < r.end {
		recs = r.s.pool.fill(recs[:0], r.part, r.next, int(min(loopBatch, r.end-r.next)))
		for i := range recs {
			msg := message.NewMessage("", recs[i].Value)
			msg.SetContext(r.ctx)
			select {
			case r.out <- msg:
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
			select {
			case <-msg.Acked():
			case <-msg.Nacked():
				return errNacked
			}
		}
		r.next += int64(len(recs))
	}
	return nil
}
