package stateful

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

// stopError stops the processor: going on would be wrong, and trying again
// cannot help.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// setbacks are what goes wrong with a task in a row.
type setbacks struct {
	attempts attempts
	gaps     int          // batches that began above the position
	stuck    bool         // Ready says that a record or firing holds it up
	failures atomic.Int32 // of the task itself, for the back-off
}

// attempts counts the tries of the one thing a task can be stuck on. It outlives
// redeliveries of the batch, so that going back to the source does not start the count again.
type attempts struct {
	what   failing
	tries  int
	panics int
}

// failing names a record or a firing.
type failing struct {
	p    Partition
	log  string
	off  int64
	id   string
	fire Firing
}

func (a *attempts) failed(what failing, err error) {
	what.fire.Ref = nil
	if a.what != what {
		*a = attempts{what: what}
	}
	a.tries++
	var p *PanicError
	if errors.As(err, &p) {
		a.panics++
	}
}

// verdict is what to do about a failure.
type verdict int

const (
	again verdict = iota
	bury          // to the dead-letter topic
	giveBack
)

// judge decides about err, waiting where the policy says so. It returns an error when the
// task cannot go on: the context ended, or the policy stops it.
func (t *Task) judge(ctx context.Context, pol *Policy, what failing, err error) (verdict, error) {
	var stop *stopError
	if errors.As(err, &stop) {
		t.p.stop(err)
		return giveBack, err
	}
	if ctx.Err() != nil {
		return giveBack, context.Cause(ctx)
	}
	if isTaskFault(err) {
		return giveBack, TaskFault(err)
	}
	a := &t.attempts
	a.failed(what, err)
	permanent := IsPermanent(err) || a.panics >= panicsAreFinal
	retry := pol.Retry
	if retry != nil && retry.Retryable != nil && !retry.Retryable(err) {
		permanent = true
	}
	switch {
	case !permanent && retry == nil:
		if pol.DeadLetter == nil || !pol.DeadLetter(err) {
			return giveBack, nil
		}
	case !permanent && a.tries <= retry.Retries:
		return again, t.pause(ctx, Backoff(a.tries, retry.Base, retry.Max))
	}
	if t.buries(pol, err, permanent) {
		return bury, nil
	}
	if retry != nil && retry.OnExhausted == Stop {
		t.p.stop(fmt.Errorf("stateful: task %s: %w", t.id, err))
		return giveBack, err
	}
	wait := taskBackoffMax
	if retry != nil {
		wait = retry.Max
	}
	t.stuck = true
	t.p.report(t, waitsForRecord, fmt.Sprintf("%s failed for good and there is no dead-letter topic for it: %v", t.name(what), err))
	return again, t.pause(ctx, wait)
}

// buries reports whether what failed for good goes to the dead-letter topic.
func (t *Task) buries(pol *Policy, err error, permanent bool) bool {
	if t.p.cfg.DeadLetterTo == "" {
		return false
	}
	if pol.DeadLetter != nil {
		return pol.DeadLetter(err)
	}
	return permanent || pol.Retry != nil && pol.Retry.OnExhausted == DeadLetter
}

// moveOn is called when what the attempts were counted for is done; the next may have no
// name of its own.
func (t *Task) moveOn() {
	if t.attempts.tries > 0 {
		t.attempts = attempts{}
		t.unstick()
	}
}

// unstick takes back that a record or firing holds the task up.
func (t *Task) unstick() {
	if t.stuck {
		t.stuck = false
		t.p.report(t, waitsForRecord, "")
	}
}

func (t *Task) name(what failing) string {
	if what.fire != (Firing{}) {
		return fmt.Sprintf("firing of key %q at %s", what.fire.Key, formatMillis(what.fire.Time))
	}
	if what.id != "" {
		return fmt.Sprintf("record %q of %s", what.id, what.p)
	}
	return fmt.Sprintf("record %d of %s", what.off, what.p)
}

// pause waits, after committing what is done: it is held back by no other's
// failure. It ends at once, with an error, when the context does, the processor
// closes or the task is revoked (S4).
func (t *Task) pause(ctx context.Context, d time.Duration) error {
	if t.changed {
		f, err := t.submit(ctx)
		if err == nil {
			err = t.await(f)
		}
		if err != nil {
			return err
		}
	}
	defer t.silence.Stop() // a pause is not idleness (F1)
	return sleepUntil(ctx, d, t.p.draining, t.leaving)
}

// attempt runs f, which handles records and counts those that were done, under the
// policy's breaker. It turns a panic into an error.
func (t *Task) attempt(ctx context.Context, pol *Policy, records *int, f func() error) error {
	if pol.Breaker == nil {
		return guard(f)
	}
	for {
		done, wait := pol.Breaker.Allow()
		if done == nil {
			t.p.report(t, waitsForBreaker, "the circuit breaker is open")
			err := t.pause(ctx, wait)
			t.p.report(t, waitsForBreaker, "")
			if err != nil {
				return err
			}
			continue
		}
		err := guard(f)
		if err != nil && *records > 0 {
			// Failures are in a row only when no record succeeded in between.
			done(nil)
			if done, _ = pol.Breaker.Allow(); done == nil {
				return err
			}
		}
		if isTaskFault(err) || ctx.Err() != nil {
			done(ErrNoOutcome)
		} else {
			done(err)
		}
		return err
	}
}

func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}

// gapError is a batch that begins above the task's position. Once it may come of what was in flight
// behind a failure. A source that goes on so has lost records, or was told to skip them: the task
// waits, for to go on without them would be to forget them (S2).
type gapError struct {
	b  *Batch
	at Position
	n  int // of them in a row
}

func (e *gapError) Error() string {
	return fmt.Sprintf("%v: the source delivers %s from offset %d on and the state has seen it up to %d: if the log still has what lies between, "+
		"the source must begin there; if not, bring it back, or start with a new App or an empty backend", ErrOutOfTurn, e.b.Partition, e.b.Start, e.at.Offset)
}

func (e *gapError) Unwrap() error { return ErrOutOfTurn }

// setback says why a message could not be processed, where that is not the handler's affair, and keeps
// it from coming back at once: its source may deliver again as soon as it is given back.
func (t *Task) setback(ctx context.Context, b *Batch, err error) {
	var gap *gapError
	switch {
	case errors.Is(err, ErrFenced):
		t.shutFenced(ctx)
		if t.reg.attached && b.ticket != nil && !b.tick {
			_ = sleepUntil(ctx, -1, t.p.draining, t.leaving) // until the source takes the partition away
		}
	case ctx.Err() != nil || errors.Is(err, ErrClosed):
	case errors.As(err, &gap):
		if gap.n > 1 {
			t.p.report(t, waitsForSource, gap.Error())
			_ = sleepUntil(ctx, Backoff(gap.n-1, taskBackoffBase, taskBackoffMax), t.p.draining, t.leaving)
		}
	case isTaskFault(err):
		t.p.report(t, waitsForTask, err.Error())
		_ = sleepUntil(ctx, Backoff(int(t.failures.Add(1)), taskBackoffBase, taskBackoffMax), t.p.draining, t.leaving)
	}
}

// The headers of a dead letter.
const (
	DeadLetterReason    = "pondage_reason"
	DeadLetterStack     = "pondage_stack"
	DeadLetterHandler   = "pondage_handler"
	DeadLetterTopic     = "pondage_topic"
	DeadLetterPartition = "pondage_partition"
	DeadLetterOffset    = "pondage_offset"
	DeadLetterTries     = "pondage_tries"
	DeadLetterTime      = "pondage_time" // of a firing
)

// deadLetter emits what failed for good, in the same transaction.
func (t *Task) deadLetter(b *Batch, rec *Record, f *Firing, cause error) error {
	headers := []Header{
		{DeadLetterReason, cause.Error()},
		{DeadLetterHandler, t.id.Handler},
		{DeadLetterPartition, strconv.Itoa(int(t.id.Partition))},
		{DeadLetterTries, strconv.Itoa(t.attempts.tries)},
	}
	var p *PanicError
	if errors.As(cause, &p) {
		headers = append(headers, Header{DeadLetterStack, string(p.Stack)})
	}
	row := Row{Topic: t.p.cfg.DeadLetterTo, Time: NoTime}
	if rec != nil {
		headers = append(headers, Header{DeadLetterTopic, b.Partition.Topic}, Header{DeadLetterOffset, strconv.FormatInt(rec.Offset, 10)})
		row.Key, row.Payload, row.Time = rec.Key, rec.Value, rec.Time
		headers = append(headers, rec.Headers...)
	} else {
		headers = append(headers, Header{DeadLetterTime, formatMillis(f.Time)})
		row.Key, row.Payload = []byte(f.Key), []byte{}
	}
	row.Headers = headers
	if err := t.tx.Emit(row); err != nil {
		return t.letterTooBig(row, err)
	}
	return nil
}

// letterTooBig emits a dead letter that its sink cannot take whole, cut to what
// tells where the record is.
func (t *Task) letterTooBig(row Row, cause error) error {
	kept := row.Headers[:0:0]
	for _, h := range row.Headers {
		switch h.Key {
		case DeadLetterHandler, DeadLetterPartition, DeadLetterTries, DeadLetterTopic, DeadLetterOffset, DeadLetterTime:
			kept = append(kept, h)
		case DeadLetterReason:
			kept = append(kept, Header{h.Key, fmt.Sprintf("%.500s (left out, for the sink refused them: a value of %d bytes and a key of %d: %v)", h.Value, len(row.Payload), len(row.Key), cause)})
		}
	}
	row.Key, row.Payload, row.Headers = nil, []byte{}, kept
	return t.tx.Emit(row)
}
