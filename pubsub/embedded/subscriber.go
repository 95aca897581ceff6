package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// DefaultGroup is the group of [Log.Subscribe].
const DefaultGroup = "default"

// SubscriberConfig configures a [Subscriber]. Group is required.
type SubscriberConfig struct {
	// Group names the readers that share the records of a topic: each goes to
	// one of them. A new group begins at the start of the log.
	Group string
}

// Subscriber is a Watermill subscriber of one message per record, one in flight
// per partition, in order. What was acked is stored for the group soon after; a
// crash in between delivers it again. Of several subscriptions of one group, also of several
// Subscribers, one reads a partition and the others stand by for it.
type Subscriber struct {
	l     *Log
	group string
	runs  runs
}

// Subscriber returns a subscriber of c's group. Closing it does not close the log.
func (l *Log) Subscriber(c SubscriberConfig) (*Subscriber, error) {
	if c.Group == "" {
		return nil, errors.New("embedded: subscriber: Group is required")
	}
	return &Subscriber{l: l, group: c.Group}, nil
}

// Subscribe delivers topic's records until ctx ends or the subscriber or the log
// closes. A topic that does not exist is created with the default number of
// partitions. A stored position that the log does not hold is refused.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	t, err := s.l.openTopic(topic, 0)
	if err != nil {
		return nil, err
	}
	run, err := s.runs.begin(ctx, s.l)
	if err != nil {
		return nil, err
	}
	for _, p := range t.parts {
		if off := p.stored(s.group); off > p.visible.Load() {
			err = beyondEnd(p, s.group, off)
		} else {
			err = s.l.register(p, s.group, off)
		}
		if err != nil {
			run.abort()
			return nil, err
		}
	}
	out := make(chan *message.Message)
	for _, p := range t.parts {
		run.read(p, func(ctx context.Context) error { return s.read(ctx, p, out) })
	}
	run.done(func() { close(out) })
	return out, nil
}

func (s *Subscriber) read(ctx context.Context, p *partition, out chan<- *message.Message) error {
	lease := p.lease(s.group)
	select {
	case lease <- struct{}{}:
		defer func() { <-lease }()
	case <-ctx.Done():
		return ctx.Err()
	}
	r := s.l.newReader(ctx, p, p.stored(s.group), out)
	return r.singles(func(pos int64) { s.l.commit(p, s.group, pos) })
}

// SubscribeInitialize creates topic when it does not exist.
func (s *Subscriber) SubscribeInitialize(topic string) error { return s.l.CreateTopic(topic, 0) }

// Close ends the subscriptions and waits for them. A second Close does nothing.
func (s *Subscriber) Close() error {
	s.runs.close()
	return nil
}

// Subscribe is that of a [Subscriber] of [DefaultGroup]. It makes the log a
// message.Subscriber.
func (l *Log) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return l.plain.Subscribe(ctx, topic)
}

// runs are the subscriptions of one subscriber.
type runs struct {
	mu      sync.Mutex
	closed  bool
	live    map[*run]struct{}
	working sync.WaitGroup
}

// run is one subscription: the readers of one topic.
type run struct {
	of      *runs
	l       *Log
	ctx     context.Context
	cancel  context.CancelFunc
	detach  func() bool
	readers sync.WaitGroup
}

func (rs *runs) begin(ctx context.Context, l *Log) (*run, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return nil, fmt.Errorf("embedded: subscriber: %w", stateful.ErrClosed)
	}
	// Subscriptions are waited for by Close, so none may begin after it did.
	if err := l.enter(); err != nil {
		return nil, err
	}
	r := &run{of: rs, l: l}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.detach = context.AfterFunc(l.ctx, r.cancel)
	if rs.live == nil {
		rs.live = make(map[*run]struct{})
	}
	rs.live[r] = struct{}{}
	rs.working.Add(1)
	return r, nil
}

// read runs f, the reader of p. When it fails the whole subscription ends: half of a
// topic is no subscription.
func (r *run) read(p *partition, f func(context.Context) error) {
	r.readers.Go(func() {
		err := f(r.ctx)
		if r.ctx.Err() == nil {
			r.l.c.Logger.Error("embedded: the subscription ends", err, map[string]any{"partition": p.name().String()})
		}
		r.cancel()
	})
}

// done calls f once all readers have ended.
func (r *run) done(f func()) {
	go func() {
		r.readers.Wait()
		f()
		r.abort()
	}()
}

// abort ends a run that has no readers.
func (r *run) abort() {
	r.detach()
	r.cancel()
	r.of.mu.Lock()
	delete(r.of.live, r)
	r.of.mu.Unlock()
	r.of.working.Done()
	r.l.leave()
}

func (rs *runs) close() {
	rs.mu.Lock()
	rs.closed = true
	for r := range rs.live {
		r.cancel()
	}
	rs.mu.Unlock()
	rs.working.Wait()
}
