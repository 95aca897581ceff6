package stateful

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
)

// errSwallowed: a message was acknowledged without its records having been
// processed. The task stops: its stored position still lies before them.
var errSwallowed = errors.New("stateful: an envelope was acknowledged without reaching the processor: " +
	"a middleware swallowed it or its error; take it out of this router (its records are still before the stored position)")

// ticket is an envelope's place in its task's order. Watermill starts a
// goroutine per message, so the order of goroutines means nothing (T1).
type ticket struct {
	lane   *lane
	number uint64 // counted from 1
	prev   atomic.Pointer[ticket]
	msg    *message.Message
	ctx    context.Context // the message's own, when the ticket was drawn
	passed atomic.Bool     // the next ticket may go

	mu   sync.Mutex
	wake chan struct{} // closed when passed, once someone waits for it

	gaveUp error // used by whoever runs the message; a middleware may run it again
}

// await returns when it is this ticket's turn. It watches the ticket before it:
// one that was nacked or cancelled will never pass, and gives up those behind it.
func (t *ticket) await(ctx context.Context) error {
	if t.gaveUp != nil {
		return t.gaveUp
	}
	p := t.prev.Load()
	if p == nil {
		return nil
	}
	if !p.passed.Load() {
		return t.wait(ctx, p)
	}
	t.prev.Store(nil)
	return nil
}

func (t *ticket) wait(ctx context.Context, p *ticket) error {
	select {
	case <-p.passes():
	case <-p.msg.Acked():
	case <-p.msg.Nacked():
	case <-p.ctx.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	switch p.state() {
	case hasPassed:
		t.prev.Store(nil)
		return nil
	case swallowed:
		t.gaveUp = errSwallowed
	default:
		t.gaveUp = ErrOutOfTurn
	}
	return t.gaveUp
}

// lost returns an error when a commit failed that this ticket comes behind.
func (t *ticket) lost() error {
	if t.number <= t.lane.failed.Load() {
		t.gaveUp = ErrOutOfTurn
	}
	return t.gaveUp
}

// pass lets the next one go.
func (t *ticket) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.passed.Swap(true) && t.wake != nil {
		close(t.wake)
	}
}

// passes returns a channel that is closed when the ticket has passed. As a rule it
// has before anyone waits, and there is none.
func (t *ticket) passes() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake == nil {
		t.wake = make(chan struct{})
		if t.passed.Load() {
			close(t.wake)
		}
	}
	return t.wake
}

type ticketState int

const (
	waiting ticketState = iota
	hasPassed
	swallowed
	givenUp
)

// state says what became of a ticket. Who passes does so before the message is acked, and
// its context may end as soon as that is.
func (t *ticket) state() ticketState {
	if t.passed.Load() {
		return hasPassed
	}
	done := isClosed(t.ctx.Done())
	acked, nacked := isClosed(t.msg.Acked()), isClosed(t.msg.Nacked())
	switch {
	case t.passed.Load():
		return hasPassed
	case acked:
		return swallowed
	case nacked || done:
		return givenUp
	}
	return waiting
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lane draws the tickets of one task.
type lane struct {
	mu     sync.Mutex
	last   *ticket
	failed atomic.Uint64 // every ticket up to this number is given up
}

// draw makes t the ticket of msg, whose place is behind the last one that was not given
// up: what comes after a nack is a redelivery.
func (l *lane) draw(t *ticket, msg *message.Message) {
	t.lane, t.msg, t.ctx = l, msg, msg.Context()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.number = 1
	if l.last != nil {
		t.number = l.last.number + 1
	}
	for p := l.last; p != nil; p = p.prev.Load() {
		s := p.state()
		if s == givenUp {
			continue
		}
		if s != hasPassed {
			t.prev.Store(p)
		}
		break
	}
	l.last = t
}

// inHand reports whether a message of a topic waits behind t.
func (l *lane) inHand(t *ticket, topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for last := l.last; last != nil && last != t; last = last.prev.Load() {
		if b, _ := BatchFrom(last.ctx); b != nil && !b.tick && b.Partition.Topic == topic && last.state() == waiting {
			return true
		}
	}
	return false
}

// giveUp gives up every ticket drawn so far: a commit of this task failed, and they
// come behind it.
func (l *lane) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil {
		l.failed.Store(l.last.number)
	}
}

// settled waits until every message that was given a ticket is acked, nacked or
// cancelled, those aside that have passed: they are in the processor's hands.
func (l *lane) settled(ctx context.Context) error {
	l.mu.Lock()
	t := l.last
	l.mu.Unlock()
	for ; t != nil; t = t.prev.Load() {
		select {
		case <-t.msg.Acked():
		case <-t.msg.Nacked():
		case <-t.ctx.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
