package stateful

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

// run processes a batch and submits what it did. The commits that hold it are
// durable when the flight returned is; a nil flight means there was nothing to
// wait for. The caller has the turn.
func (t *Task) run(ctx context.Context, b *Batch) (f *flight, err error) {
	defer t.recovered(&err) // what comes through was in the middle of anything
	pol := PolicyFrom(ctx)
	f, err = t.once(ctx, &pol, b)
	if err != nil && !t.checking && isUnencodable(err) {
		t.checking = true
		if err := t.reload(ctx); err != nil {
			return nil, t.breakdown(err)
		}
		f, err = t.once(ctx, &pol, b)
	}
	if err == nil {
		t.checking = false
	}
	return f, err
}

func (t *Task) once(ctx context.Context, pol *Policy, b *Batch) (_ *flight, err error) {
	t.tx.ctx, t.tx.now = ctx, time.Time{} // a transaction that had nothing to commit is used again
	if t.advancing || t.overdue() {
		if err := t.advance(ctx, pol); err != nil {
			return nil, t.abort(err)
		}
	}
	if err := t.room(ctx); err != nil {
		return nil, t.abort(TaskFault(fmt.Errorf("wait for room in the outbox: %w", err)))
	}
	if b.tick {
		err = t.tickWork(ctx, pol, b)
	} else {
		err = t.batch(ctx, pol, b)
	}
	if err != nil {
		return nil, t.abort(err)
	}
	if t.changed || b.tick && (t.trimmable() || t.sweepsWhenQuiet()) {
		if err := t.commit(ctx); err != nil {
			return nil, t.abort(err)
		}
	}
	return t.commits.last()
}

func (t *Task) tickWork(ctx context.Context, pol *Policy, b *Batch) error {
	if err := t.listen(ctx, pol, b); err != nil {
		return err
	}
	if err := t.clockTimers(ctx, pol); err != nil {
		return err
	}
	if t.overdue() { // a timer was set for a time that has passed
		return t.advance(ctx, pol)
	}
	return nil
}

// room waits until the outbox takes more (F4).
func (t *Task) room(ctx context.Context) error {
	l := &t.p.cfg.Limits
	if t.outbox == nil {
		return nil
	}
	if rows, bytes := t.outbox.Backlog(); rows < l.OutboxRows && bytes < l.OutboxBytes {
		return t.outbox.Room(ctx) // does not wait, but tells of a sink that failed for good
	}
	t.p.report(t, waitsForRoom, "the outbox is full: its sink takes no more rows")
	defer t.p.report(t, waitsForRoom, "")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-t.p.draining:
			cancel(ErrClosed)
		case <-t.leaving:
			cancel(ErrClosed)
		case <-stop:
		}
	}()
	defer t.silence.Stop() // a pause is not idleness (F1)
	if err := t.outbox.Room(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// abort drops what the transaction did: it is read again from the store before the next.
func (t *Task) abort(err error) error {
	t.stale = true
	t.unstick()
	return err
}

// errOtherLog refuses a batch of a log that is not the one the state came from (S2).
func errOtherLog(b *Batch, at Position) error {
	return &stopError{fmt.Errorf("stateful: the state has seen log %s of %s up to %d, and the source delivers log %s: "+
		"the topic was deleted and made again; start with a new App or an empty backend, or bring the old topic back",
		at.Log, b.Partition, at.Offset, b.Log)}
}

func (t *Task) batch(ctx context.Context, pol *Policy, b *Batch) error {
	input := -1
	for i := range t.meta.inputs {
		if t.meta.inputs[i].topic == b.Partition.Topic {
			input = i
		}
	}
	if input < 0 {
		return Permanent(fmt.Errorf("stateful: handler %q does not read topic %q", t.id.Handler, b.Partition.Topic))
	}
	t.heard(input, b)
	in := &t.meta.inputs[input]
	recs := b.Records
	if b.Log != "" {
		if in.pos.Log == "" {
			in.pos = Position{Log: b.Log, Offset: b.Start}
		}
		switch {
		case in.pos.Log != b.Log:
			err := errOtherLog(b, in.pos)
			t.p.stop(err)
			return err
		case b.Start > in.pos.Offset:
			t.gaps++
			return &gapError{b: b, at: in.pos, n: t.gaps}
		}
		if t.gaps > 0 {
			t.gaps = 0
			t.p.report(t, waitsForSource, "")
		}
		for len(recs) > 0 && recs[0].Offset < in.pos.Offset {
			recs = recs[1:]
		}
	}
	if err := t.records(ctx, pol, b, input, recs); err != nil {
		return err
	}
	if b.Log != "" && b.End > t.meta.inputs[input].pos.Offset {
		t.meta.inputs[input].pos.Offset = b.End
		t.changed = true
	}
	if b.EndOfInput && t.wm.Max(input) != window.Forever {
		t.wm.End(input)
		t.changed = true
		return t.moved(ctx, pol)
	}
	return nil
}

// records processes recs, each in its own savepoint, until all are done.
func (t *Task) records(ctx context.Context, pol *Policy, b *Batch, input int, recs []Record) error {
	retried := false // the first of recs failed before
	for len(recs) > 0 {
		done := 0
		err := t.attempt(ctx, pol, &done, func() error { return t.span(ctx, b, input, recs, &done) })
		recs = recs[done:]
		if err == nil || retried && done > 0 {
			t.moveOn()
		}
		if err == nil {
			if err := t.ripen(ctx, pol); err != nil {
				return err
			}
			continue
		}
		buried, again, err := t.recordFailed(ctx, pol, b, input, recs, err)
		if err != nil {
			return err
		}
		if retried = again; buried {
			recs = recs[1:]
		}
	}
	return nil
}

// ripen fires what the record done last made due. It is apart from the attempt at the record,
// for each firing is one of its own.
func (t *Task) ripen(ctx context.Context, pol *Policy) error {
	if !t.ripe {
		return nil
	}
	t.ripe = false
	if err := t.advance(ctx, pol); err != nil {
		return err
	}
	if t.tx.full() {
		return t.commit(ctx)
	}
	return nil
}

// recordFailed undoes the first of recs and decides what becomes of it. It is apart from
// records for its large frame, which would make the stack of every message's goroutine
// grow once more.
func (t *Task) recordFailed(ctx context.Context, pol *Policy, b *Batch, input int, recs []Record, cause error) (buried, retried bool, err error) {
	var adv *advanceError
	if errors.As(cause, &adv) {
		return false, false, adv.err // the record itself is done
	}
	if len(recs) == 0 {
		return false, false, cause
	}
	t.tx.rollback()
	rec := &recs[0]
	what := failing{p: b.Partition, log: b.Log, off: rec.Offset, id: rec.ID}
	v, stop := t.judge(ctx, pol, what, cause)
	switch {
	case stop != nil:
		return false, false, stop
	case v == giveBack:
		return false, false, errors.Join(fmt.Errorf("%s: %w", t.name(what), cause), t.keep(ctx, b))
	case v != bury:
		return false, true, nil
	}
	t.tx.savepoint(rec)
	if err := t.deadLetter(b, rec, nil, cause); err != nil {
		return false, false, TaskFault(fmt.Errorf("dead-letter %s: %w", t.name(what), err))
	}
	if err := t.finish(input, b, rec); err != nil {
		return false, false, err
	}
	t.moveOn()
	if t.tx.full() {
		if err := t.commit(ctx); err != nil {
			return false, false, err
		}
	}
	return true, false, nil
}

// keep commits what the records before a failed one did: delivered again, they lie
// below the position. Without positions the whole batch is undone.
func (t *Task) keep(ctx context.Context, b *Batch) error {
	if b.Log == "" || !t.changed {
		return nil
	}
	f, err := t.submit(ctx)
	if err != nil {
		return err
	}
	return t.await(f)
}

// advanceError is a failure after the record in hand was done with.
type advanceError struct{ err error }

func (e *advanceError) Error() string { return e.err.Error() }
func (e *advanceError) Unwrap() error { return e.err }

// span processes records until one fails or makes something due; done is how many
// did not fail. It is the hot path: nothing in it may allocate, lock or look at a clock.
func (t *Task) span(ctx context.Context, b *Batch, input int, recs []Record, done *int) error {
	limits, tx := &t.p.cfg.Limits, t.tx
	for i := range recs {
		rec := &recs[i]
		tx.savepoint(rec)
		if b.Log == "" && rec.ID != "" {
			dup, err := t.seen(ctx, tx, b.Partition.Topic, rec.ID)
			if err != nil {
				return err
			}
			if dup {
				*done++
				continue
			}
		}
		if len(rec.Value) > limits.RecordBytes || len(rec.Key) > limits.KeyBytes || len(rec.ID) > limits.KeyBytes {
			return Permanent(fmt.Errorf("record has %d bytes, a key of %d and an id of %d; the limits are %d and %d (Limits.RecordBytes, Limits.KeyBytes)",
				len(rec.Value), len(rec.Key), len(rec.ID), limits.RecordBytes, limits.KeyBytes))
		}
		if err := t.inst.Process(ctx, tx, rec); err != nil {
			return err
		}
		if tx.fault != nil { // the handler may have swallowed it
			return tx.fault
		}
		if t.checking {
			if err := t.check(); err != nil {
				return err
			}
		}
		if err := t.finish(input, b, rec); err != nil {
			return err
		}
		*done++
		if tx.observed {
			wm := t.wm.Observe(input, tx.eventTime)
			if t.ripe = t.due(wm); t.ripe {
				return nil
			}
			t.meta.advanced = wm
		} else if t.nextTimer < tx.timerMark && t.overdue() {
			t.ripe = true
			return nil
		}
		if tx.full() {
			if err := t.commit(ctx); err != nil {
				return &advanceError{err}
			}
		}
	}
	return nil
}

// finish makes the record's position, or its mark, part of the transaction.
func (t *Task) finish(input int, b *Batch, rec *Record) error {
	t.changed = true
	if b.Log != "" {
		t.meta.inputs[input].pos.Offset = rec.Offset + 1
		return nil
	}
	if rec.ID != "" {
		return t.mark(t.tx, b.Partition.Topic, rec.ID)
	}
	return nil
}
