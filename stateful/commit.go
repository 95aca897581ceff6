package stateful

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// flight is a commit that was submitted. Flights become durable in order; when one
// fails, so do all behind it (T1).
type flight struct {
	seq       uint64
	life      uint64          // of the task, when it was submitted
	ctx       context.Context // without an end
	pending   Pending
	outbox    TaskOutbox // of the time of the commit: the task may have been opened again since
	buf       buffer
	rows      []Row
	prepared  []Prepared
	positions []inputPosition
}

type inputPosition struct {
	p   Partition
	pos Position
}

// commit is submit where no record and no firing is in hand. Only there may the instance be
// replaced: what it said of a firing ([Firing.Ref]) means nothing to another.
func (t *Task) commit(ctx context.Context) error {
	if _, err := t.submit(ctx); err != nil {
		return err
	}
	if err := t.countTimers(ctx); err != nil {
		return t.breakdown(err)
	}
	return t.trimCache(ctx)
}

// submit sends what the transaction holds as one commit and begins the next. A panic of a
// codec, a sink or the store leaves half a commit behind: it is the task's, and no record's.
func (t *Task) submit(ctx context.Context) (_ *flight, err error) {
	defer t.recovered(&err)
	tx := t.tx
	if err := t.sweep(ctx, tx); err != nil {
		return nil, t.breakdown(err)
	}
	if err := t.flush(tx); err != nil {
		return nil, err
	}
	t.trim(tx)
	// The commit must not be cut short by a context that ends: its outcome would be unknown (F2).
	f := &flight{seq: t.seq + 1, outbox: t.outbox, ctx: context.WithoutCancel(ctx)}
	c := Commit{Seq: f.seq}
	if t.outbox != nil {
		var rest []Row
		c.Joined, rest = t.outbox.Join(tx.rows)
		f.rows = slices.Clone(rest) // the outbox will have them for itself
		prepared, err := t.outbox.Prepare(ctx, f.rows)
		if err != nil {
			return nil, t.breakdown(fmt.Errorf("prepare sinks: %w", err))
		}
		f.prepared = prepared
	}
	t.writeRows(tx, f)
	t.meta.nextRow += uint64(len(tx.rows))
	t.writeMeta(tx, f)
	t.writeSchema(tx)
	c.Writes = tx.writes
	c.Token = token(c)
	f.buf = buffer{writes: tx.writes, arena: tx.arena, rows: tx.rows}
	f.pending = t.store.Submit(f.ctx, c)
	t.seq++
	t.changed, t.midway = false, t.advancing
	next, oldest := t.commits.add(f)
	tx.reset(next)
	if oldest != nil {
		// So that they are bounded; and so it also finds out that they fail.
		if err := t.await(oldest); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// breakdown makes err the task's: the state in memory is no longer that of the
// store, so the task is opened again.
func (t *Task) breakdown(err error) error {
	t.commits.breaks(err)
	return TaskFault(err)
}

// recovered, when deferred, makes a panic a breakdown.
func (t *Task) recovered(err *error) {
	if v := recover(); v != nil {
		*err = t.breakdown(&PanicError{Value: v, Stack: debug.Stack()})
	}
}

// sweep drops what is due beside the records: old marks and expired entries.
func (t *Task) sweep(ctx context.Context, tx *Tx) error {
	tx.savepoint(nil)
	if err := t.sweepMarks(ctx, tx); err != nil {
		return err
	}
	return t.sweepExpired(ctx, tx)
}

// trim drops rows that were published.
func (t *Task) trim(tx *Tx) {
	if t.outbox == nil {
		return
	}
	if p := t.outbox.Progress(); p != t.progress {
		t.progress = p
		t.meta.published = t.outbox.Published()
	}
	t.stored.trim(t.p.cfg.Limits.CommitRows, t.meta.published, tx)
}

// trimmable reports whether a commit would have rows to trim.
func (t *Task) trimmable() bool {
	return t.outbox != nil && t.stored.n > 0 && t.outbox.Progress() != t.progress
}

func (t *Task) writeRows(tx *Tx, f *flight) {
	tx.keyMem = tx.keyMem[:0]
	for i := range f.rows {
		tx.keyMem = appendRowKey(tx.keyMem, f.rows[i].Seq)
	}
	keys := string(tx.keyMem) // one piece of memory for all
	for i := range f.rows {
		row := &f.rows[i]
		at := len(tx.arena)
		tx.arena = appendRow(tx.arena, row)
		key := keys[i*rowKeySize:][:rowKeySize]
		tx.writes = append(tx.writes, Write{Key: key, Value: tx.arena[at:len(tx.arena):len(tx.arena)]})
		t.stored.add(t.reg.sinkOf[row.Topic], row.Seq, false)
	}
	for _, p := range f.prepared {
		tx.writes = append(tx.writes, Write{Key: preparedKey(p), Value: p.Handle})
		t.stored.add(p.Sink, p.Seq, true)
	}
}

func (t *Task) writeMeta(tx *Tx, f *flight) {
	m := &t.meta
	m.watermark = t.wm.Now()
	if !t.advancing {
		m.fired = noFiring
	}
	for i := range m.inputs {
		in := &m.inputs[i]
		in.maxTime, in.state = t.wm.Max(i), t.wm.State(i)
		if in.pos.Log != "" {
			f.positions = append(f.positions, inputPosition{Partition{in.topic, t.id.Partition}, in.pos})
		}
	}
	at := len(tx.arena)
	tx.arena = m.append(tx.arena)
	tx.writes = append(tx.writes, Write{Key: spaceMeta, Value: tx.arena[at:len(tx.arena):len(tx.arena)]})
}

// token digests a commit's content: two commits of one sequence are the same only
// if their tokens are (T4).
func token(c Commit) uint64 {
	h := c.Seq
	for i := range c.Writes {
		w := &c.Writes[i]
		h = h*0x9E3779B97F4A7C15 + xxhash.Sum64String(w.Key)
		if w.Value != nil {
			h = h*0x9E3779B97F4A7C15 + xxhash.Sum64(w.Value) + 1
		}
	}
	return h
}

// await waits until f is durable, then publishes what became durable with it, in
// order. Many may wait at once.
func (t *Task) await(f *flight) error {
	err := f.pending.Wait(f.ctx)
	if err != nil {
		for g := t.commits.before(f); g != nil; g = t.commits.before(f) { // which nobody may wait for
			if err := g.pending.Wait(g.ctx); err != nil {
				t.fail(g, err)
				break
			}
			t.landed(g)
		}
		if !t.fail(f, err) {
			// To open the task again fences what was on its way: not another owner.
			return fmt.Errorf("%w: commit %d of %s: %v", ErrOutOfTurn, f.seq, t.id, err) //nolint:errorlint // nobody may take it for a fence
		}
		err = fmt.Errorf("commit %d of %s: %w", f.seq, t.id, err)
		if errors.Is(err, ErrFenced) {
			t.fenced(err)
		}
		return TaskFault(err)
	}
	t.landed(f)
	return nil
}

// landed hands on what became durable up to f, in order of commits.
func (t *Task) landed(f *flight) {
	t.commits.land(f, func(g *flight) {
		if g.outbox != nil && (len(g.rows) > 0 || len(g.prepared) > 0) {
			g.outbox.Push(g.rows, g.prepared)
		}
		if l := t.reg.listener; l != nil && t.reg.keepsPositions(t.p.cfg.Backend) {
			for _, ip := range g.positions {
				l.Committed(t.reg.group, ip.p, ip.pos)
			}
		}
	})
}

// fail makes the task open again, for f failed with err, and gives up what was reserved for it and those
// behind it. It reports whether the task had not been opened again since f was submitted.
func (t *Task) fail(f *flight, err error) bool {
	current, reserved := t.commits.fail(f, err, t.tickets.giveUp)
	if len(reserved) > 0 {
		ctx, cancel := context.WithTimeout(f.ctx, taskBackoffMax) // opening the task again gives it up, too
		defer cancel()
		f.outbox.Abort(ctx, reserved)
	}
	return current
}

// trimCache lets go of all decoded state when there is too much of it. It was
// just committed, so the instance is made anew and reads what it needs.
func (t *Task) trimCache(ctx context.Context) error {
	n := 0
	for _, tb := range t.tables {
		n += tb.size()
	}
	if n <= t.p.cfg.Limits.CachedEntries {
		return nil
	}
	if err := t.newInstance(ctx); err != nil {
		return t.breakdown(err)
	}
	return nil
}
