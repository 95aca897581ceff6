package stateful

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// errSwallowed: a message was acknowledged without its records having been
// processed. The task stops: its stored position still lies before them.
var errSwallowed = errors.New("stateful: an envelope was acknowledged without reaching the processor: " +
	"a middleware swallowed it or its error; take it out of this router (its records are still before the stored position)")

// ticket is an envelope's place in its task's order. Watermill starts a
// goroutine per message, so the order of goroutines means nothing (T1).
type ticket struct {
	prev   *ticket
	msg    *message.Message
	ctx    context.Context // the message's own, when the ticket was drawn
	passed chan struct{}   // closed when the next ticket may go
	done   bool            // passed is closed; a middleware may run the message again
}

// await returns when it is this ticket's turn. It watches the ticket before it:
// one that was nacked or cancelled will never pass, and gives up those behind it.
func (t *ticket) await(ctx context.Context) error {
	p := t.prev
	if p == nil {
		return nil
	}
	t.prev = nil
	select {
	case <-p.passed:
		return nil
	default:
	}
	select {
	case <-p.passed:
		return nil
	case <-p.msg.Acked():
		select {
		case <-p.passed:
			return nil
		default:
			return errSwallowed
		}
	case <-p.msg.Nacked():
		return ErrOutOfTurn
	case <-p.ctx.Done():
		return ErrOutOfTurn
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass lets the next one go.
func (t *ticket) pass() {
	if !t.done {
		t.done = true
		close(t.passed)
	}
}

// lane draws the tickets of one task.
type lane struct {
	mu   sync.Mutex
	last *ticket
}

func (l *lane) draw(msg *message.Message) *ticket {
	t := &ticket{msg: msg, ctx: msg.Context(), passed: make(chan struct{})}
	l.mu.Lock()
	t.prev, l.last = l.last, t
	l.mu.Unlock()
	return t
}

// settled waits until the last message that was given a ticket is acked or nacked.
func (l *lane) settled(ctx context.Context) error {
	l.mu.Lock()
	t := l.last
	l.mu.Unlock()
	if t == nil {
		return nil
	}
	select {
	case <-t.msg.Acked():
	case <-t.msg.Nacked():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
