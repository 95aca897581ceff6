package stateful

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// intake stands between a source and the router: the last place where messages
// are seen in order. It draws their tickets, makes plain messages batches of
// one, and adds ticks.
type intake struct {
	p        *Processor
	reg      *registration
	sub      message.Subscriber
	input    int  // its index; the first sends the handler's ticks
	attached bool // sub is this handler's own

	only *Task // while something is forwarded that has one partition: its source is not attached
}

// Subscribe is called by the router.
func (in *intake) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s, err := in.begin(ctx, topic)
	out := make(chan *message.Message)
	if err != nil && s.ctx.Err() != nil && isClosed(in.p.draining) {
		// Told to end before it began. With an error the router would wait, when it
		// closes, for handlers that never start.
		close(out)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if !in.p.opens() {
		in.leave(s)
		close(out)
		return out, nil
	}
	go in.serve(ctx, topic, s, out)
	return out, nil
}

// subscription is what an intake reads from.
type subscription struct {
	ctx  context.Context // its own
	from <-chan *message.Message
	term *term // nil: it needs no lease, or stands by
}

// begin subscribes, unless it has to stand by.
func (in *intake) begin(ctx context.Context, topic string) (subscription, error) {
	u := in.reg.tenure
	if u == nil {
		return in.subscribe(ctx, topic, nil)
	}
	u.start(ctx)
	if tm := u.enter(ctx, false); tm != nil {
		return in.subscribe(ctx, topic, tm)
	}
	return subscription{ctx: ctx}, nil
}

func (in *intake) subscribe(ctx context.Context, topic string, tm *term) (s subscription, err error) {
	s = subscription{ctx: ctx, term: tm}
	if tm != nil {
		s.ctx = tm.within(ctx)
	}
	if bs, ok := in.sub.(BatchSubscriber); ok {
		s.from, err = bs.SubscribeBatches(s.ctx, topic)
	} else {
		s.from, err = in.sub.Subscribe(s.ctx, topic)
	}
	if err != nil {
		in.leave(s)
		s.from, s.term = nil, nil
		return s, fmt.Errorf("stateful: handler %q: subscribe to %q: %w", in.reg.name, topic, err)
	}
	return s, nil
}

func (in *intake) leave(s subscription) {
	if s.term != nil {
		in.reg.tenure.leave(s.term)
	}
}

// serve forwards what s delivers and, when its term ends, stands by for the next one.
func (in *intake) serve(ctx context.Context, topic string, s subscription, out chan<- *message.Message) {
	defer close(out)
	defer in.drained(ctx)
	defer in.p.intakes.Done() // nothing is forwarded any more
	for {
		if s.term != nil || in.reg.tenure == nil {
			in.forward(s.ctx, topic, s.from, out)
			in.leave(s)
			if s.ctx.Err() == nil || ctx.Err() != nil {
				return // not for the end of its term
			}
		}
		tm := in.reg.tenure.enter(ctx, true)
		if tm == nil {
			return
		}
		var err error
		if s, err = in.subscribe(ctx, topic, tm); err != nil && s.ctx.Err() == nil {
			in.p.stop(err)
			return
		}
	}
}

// opens counts an intake, unless the processor is closing.
func (p *Processor) opens() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.draining) {
		return false
	}
	p.intakes.Add(1)
	return true
}

// Close closes a subscriber that was attached for this handler. A plain one is
// the user's and may serve others; its subscription ended with its context.
func (in *intake) Close() error {
	if in.attached {
		return in.sub.Close()
	}
	return nil
}

func (in *intake) forward(ctx context.Context, topic string, from <-chan *message.Message, out chan<- *message.Message) {
	// To wait for one channel costs every message less than to wait for three.
	end, left := make(chan struct{}), make(chan struct{})
	var beside sync.WaitGroup
	defer beside.Wait()
	defer close(left)
	beside.Go(func() {
		defer close(end)
		select {
		case <-in.p.draining:
		case <-in.reg.ended:
		case <-ctx.Done():
		case <-left:
		}
	})
	var tick <-chan struct{}
	if in.input == 0 {
		tick = in.reg.tick
	}
	if !in.attached {
		in.only = in.p.task(in.reg, 0)
		// Nobody assigns it, and it may have timers and outputs from before the first message.
		if in.input == 0 && !in.sendTick(ctx, in.only, out, end) {
			return
		}
	}
	held := make(heldBack)
	defer held.giveUp()
	for {
		select {
		case msg, ok := <-from:
			if !ok {
				if ctx.Err() == nil {
					in.ended(topic)
				}
				return
			}
			if !in.send(topic, msg, out, end, held) {
				return
			}
		case <-in.reg.goOn[in.input]:
			if !in.release(out, end, held) {
				return
			}
		case <-tick:
			for _, t := range in.p.tasksOf(in.reg) {
				if !in.sendTick(ctx, t, out, end) {
					return
				}
			}
		case <-end:
			return
		}
	}
}

// drained keeps the router's channel open while what was forwarded is worked
// off: a router whose channels are closed cancels its handlers.
func (in *intake) drained(ctx context.Context) {
	select {
	case <-in.p.draining:
		select {
		case <-in.p.drained:
		case <-ctx.Done():
		}
	default:
	}
}

// ended reports a subscription that the source closed by itself (S5).
func (in *intake) ended(topic string) {
	select {
	case <-in.p.draining:
	default:
		in.p.stop(fmt.Errorf("stateful: handler %q: the subscription to %q ended by itself: see the source's log", in.reg.name, topic))
	}
}

func (in *intake) send(topic string, msg *message.Message, out chan<- *message.Message, end <-chan struct{}, held heldBack) bool {
	b, ok := BatchFrom(msg.Context())
	if ok {
		b.ticket = new(ticket)
	} else {
		if msg.Metadata.Get(EnvelopeKey) != "" {
			in.p.stop(fmt.Errorf("handler %q, topic %q: %w", in.reg.name, topic, ErrContextLost))
			msg.Nack()
			return false
		}
		b = in.plain(topic, msg)
	}
	b.task = in.only
	if b.task == nil || b.Partition.Index != 0 {
		b.task = in.p.task(in.reg, b.Partition.Index) // of an attached source it may be another one by now
	}
	if t := b.task; len(held[t]) > 0 || t.ahead[in.input].Load() {
		held[t] = append(held[t], msg) // before it has a place: the task's other inputs go on
		if !t.ahead[in.input].Load() {
			return in.release(out, end, held) // it was let go in between
		}
		return true
	}
	b.task.tickets.draw(b.ticket, msg)
	return forward(msg, out, end)
}

// heldBack are messages that wait for other inputs of their task, in order. There are no more
// than a source delivers without an ack.
type heldBack map[*Task][]*message.Message

// release forwards what waited and need not any more.
func (in *intake) release(out chan<- *message.Message, end <-chan struct{}, held heldBack) bool {
	for t, msgs := range held {
		for len(msgs) > 0 && !t.ahead[in.input].Load() {
			msg := msgs[0]
			msgs = msgs[1:]
			if msg.Context().Err() != nil {
				msg.Nack() // its source has given it up
				continue
			}
			b, _ := BatchFrom(msg.Context())
			t.tickets.draw(b.ticket, msg)
			if !forward(msg, out, end) {
				return false
			}
		}
		if held[t] = msgs; len(msgs) == 0 {
			delete(held, t)
		}
	}
	return true
}

// giveUp gives what still waits back to the source.
func (h heldBack) giveUp() {
	for _, msgs := range h {
		for _, msg := range msgs {
			msg.Nack()
		}
	}
}

// sendTick sends an empty envelope through the same middlewares, in order with
// the records (T9).
func (in *intake) sendTick(ctx context.Context, t *Task, out chan<- *message.Message, end <-chan struct{}) bool {
	if t.isClosed() {
		return true // fenced, and its source has not taken it away yet
	}
	if last := t.ticked; last != nil && !isClosed(last.Acked()) && !isClosed(last.Nacked()) {
		return true // one that waits for its turn is enough
	}
	b := &Batch{Partition: Partition{Topic: in.reg.handler.Inputs()[0], Index: t.id.Partition}, task: t, ticket: new(ticket), tick: true}
	msg := NewEnvelope(ctx, b)
	t.ticked = msg
	t.tickets.draw(b.ticket, msg)
	return forward(msg, out, end)
}

func forward(msg *message.Message, out chan<- *message.Message, end <-chan struct{}) bool {
	select {
	case out <- msg:
		return true
	case <-end:
		msg.Nack()
		return false
	}
}

// registration is a handler in a processor.
type registration struct {
	name        string
	group       string
	handler     Handler
	src         message.Subscriber
	listener    CommitListener // the source, when it wants to know
	attached    bool           // src is this handler's own
	routed      bool           // it is in a router
	delay       int64          // of the watermark, in milliseconds
	outputs     []string
	schema      []SchemaPart      // of the state, see Plan
	sinkOf      map[string]string // by topic
	partitioner Partitioner       // nil: keys need not be checked
	partitions  int
	traits      SourceTraits
	declares    bool // traits are what the source says, not what is taken of one that says nothing
	tick        chan struct{}
	goOn        []chan struct{} // of each input: it is no longer held back in some task
	ender       EndTeller       // src, when it is one

	// See Pace, in milliseconds.
	idleAfter, flushAfter, maxSkew int64

	ended   chan struct{} // closed when the subscription must end
	endOnce sync.Once
	tenure  *tenure // nil: it is served without a lease
}

// endSubscription ends what a fenced task would otherwise be asked for again and again (O2), and the
// processor when nothing is left for it to do. A source of the handler's own has partitions, and those of
// others go on; batches that come by Process are the caller's affair.
func (r *registration) endSubscription(t *Task, err error) {
	if r.tenure == nil || !r.tenure.fenced(t, err) {
		r.shutOut(t, err)
	}
}

func (r *registration) shutOut(t *Task, err error) {
	if r.attached || !r.routed {
		return
	}
	r.endOnce.Do(func() {
		close(r.ended)
		if t.p.allEnded() {
			t.p.stop(fmt.Errorf("stateful: task %s: %w", t.id, err))
		}
	})
}

func (p *Processor) allEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.regs, func(r *registration) bool { return !isClosed(r.ended) })
}

// owner is what the processor is to its source.
type owner struct {
	p   *Processor
	reg *registration
}

// Assigned opens the tasks.
func (o owner) Assigned(ctx context.Context, partitions []Partition) (map[Partition]Position, error) {
	at := make(map[Partition]Position, len(partitions))
	for _, part := range partitions {
		t := o.p.task(o.reg, part.Index)
		if err := t.take(ctx); err != nil {
			return nil, err
		}
		err := t.ensureOpen(ctx)
		if err == nil {
			at[part], _ = t.position(part.Topic)
		}
		t.give()
		if err != nil {
			return nil, err
		}
	}
	return at, nil
}

// Revoked closes the tasks.
func (o owner) Revoked(ctx context.Context, partitions []Partition) error {
	var errs []error
	for _, part := range partitions {
		if t := o.p.drop(o.reg, part.Index); t != nil {
			close(t.leaving)
			t.letGo()
			errs = append(errs, t.close(ctx, ErrClosed))
		}
	}
	return errors.Join(errs...)
}
