package outbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pondage/pondage/stateful"
)

// Reject is what becomes of a row that its sink refuses for ever.
type Reject int

// The possibilities.
const (
	// Stop stops the relay into that sink, and with it the task: nothing is lost or
	// passed over, and readiness says why.
	Stop Reject = iota
	// DeadLetter publishes the row to stateful.Config.DeadLetterTo instead, and goes on.
	DeadLetter
)

// The headers of a row that was dead-lettered, before its own. stateful.DeadLetterHandler,
// DeadLetterPartition, DeadLetterReason and DeadLetterTopic are there too.
const (
	RefusedBy  = "pondage_sink"
	RefusedSeq = "pondage_sequence"
)

// separates a handler's name, which cannot have it, from that of a sink.
const separator = "~"

// letters is where the rows go that one sink refuses. They have a producer, and so a cursor, of their own:
// under the task's own the sink of the dead-letter topic has long taken higher sequences.
type letters struct {
	to *target
	p  stateful.Producer
}

// letters returns where e's dead letters go, nil when it stops instead.
func (e *edge) letters(ot *stateful.OutboxTask) (*letters, error) {
	o := e.relay.t.o
	if o.c.OnReject != DeadLetter || e.way == discarded {
		return nil, nil
	}
	if ot.DeadLetterTo == "" {
		return nil, errors.New("OnReject is DeadLetter and there is no dead-letter topic: set stateful.Config.DeadLetterTo")
	}
	to := o.sinkOf(ot.DeadLetterTo)
	if to == nil {
		return nil, o.errNoSink(ot.DeadLetterTo)
	}
	l := &letters{to: to, p: ot.Producer}
	l.p.Handler += separator + e.traits.Name
	return l, nil
}

// refuses reports whether err says that a sink will never take a row, which then goes elsewhere.
func (r *relay) refuses(err error) bool {
	return r.letters != nil && stateful.IsPermanent(err) &&
		!errors.Is(err, stateful.ErrFenced) && !errors.Is(err, stateful.ErrClosed) && !errors.Is(err, errContract)
}

// step publishes some of rows, or dead-letters the first of them, and returns how many are done with. What was
// reserved together is committed together, and a sink that reserved it cannot refuse it.
func (r *relay) step(ctx context.Context, rows []stateful.Row, handle *stateful.Prepared) (int, error) {
	size := len(rows)
	if r.size > 0 && handle == nil {
		size = min(size, r.size)
	}
	n, err := r.commit(ctx, r.to, r.t.p, rows[:size], handle)
	if n > 0 {
		r.done(rows[:n], false)
	}
	switch {
	case err == nil:
		if r.size *= 2; r.size >= r.t.o.c.BatchRows {
			r.size = 0
		}
		return n, nil
	case handle != nil || !r.refuses(err):
		return n, err
	case n > 0:
		r.size = 1 // it is most likely the next
		return n, nil
	case size > 1:
		r.size = size / 2 // a sink that takes all or nothing does not say which it was
		return 0, nil
	}
	if err := r.bury(ctx, &rows[0], err); err != nil {
		return 0, err
	}
	r.done(rows[:1], true)
	return 1, nil
}

// bury publishes row, which was refused for cause, to the dead-letter topic.
func (r *relay) bury(ctx context.Context, row *stateful.Row, cause error) error {
	to, p, log := r.letters.to, r.letters.p, r.t.o.c.Logger
	letter, err := r.letter(row, cause)
	if err == nil {
		_, err = r.commit(ctx, to, p, []stateful.Row{letter}, nil)
	}
	if err != nil {
		// The cause is permanent, which this need not be: so only its text.
		return fmt.Errorf("output %d was refused (%s), and as a dead letter to %q, sink %q, it is not published: %w",
			row.Seq, cause.Error(), r.t.deadLetterTo, to.traits.Name, err)
	}
	log.Error("an output was refused and dead-lettered", "app", p.App, "handler", r.t.p.Handler, "partition", p.Partition,
		"sink", r.to.traits.Name, "topic", row.Topic, "sequence", row.Seq, "to", r.t.deadLetterTo, "reason", cause)
	return nil
}

// letter returns row as a dead letter. One that the sink cannot take whole is cut to what tells where
// the row came from.
func (r *relay) letter(row *stateful.Row, cause error) (stateful.Row, error) {
	l := *row
	l.Topic = r.t.deadLetterTo
	headers := func(reason string) []stateful.Header {
		return []stateful.Header{
			{Key: RefusedBy, Value: r.to.traits.Name},
			{Key: RefusedSeq, Value: strconv.FormatUint(row.Seq, 10)},
			{Key: stateful.DeadLetterReason, Value: reason},
			{Key: stateful.DeadLetterTopic, Value: row.Topic},
			{Key: stateful.DeadLetterHandler, Value: r.t.p.Handler},
			{Key: stateful.DeadLetterPartition, Value: strconv.Itoa(int(r.t.p.Partition))},
		}
	}
	l.Headers = append(headers(cause.Error()), row.Headers...)
	err := r.letters.to.Check(&l)
	if err == nil {
		return l, nil
	}
	l.Key, l.Payload = nil, []byte{}
	l.Headers = headers(fmt.Sprintf("%.500s (left out, for the sink of dead letters refused them: a payload of %d bytes and a key of %d: %v)",
		cause, len(row.Payload), len(row.Key), err))
	if err := r.letters.to.Check(&l); err != nil {
		return l, stateful.Permanent(err)
	}
	return l, nil
}
