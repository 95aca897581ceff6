package outbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// relay publishes one task's rows into one sink, in order (K2). It has a
// goroutine only while there is something to publish.
type relay struct {
	t    *task
	to   *target
	from uint64 // stored rows up to here need not be published
	had  uint64 // the sink's cursor when the task was opened

	letters *letters // nil: it stops at a row that is refused for ever
	size    int      // of the next commit, while the row that is refused is looked for; 0: all

	// Guarded by the task's lock.
	queue     [][]stateful.Row // oldest first
	handles   []stateful.Prepared
	published uint64 // all rows of this sink up to here are
	trim      uint64 // up to here the state need not keep them
	refused   uint64 // the last of those up to trim that was dead-lettered
	kept      grace  // those above trim
	keeps     bool   // that anything is kept
	running   bool   // stays so when it failed for good: nothing starts it again
	trouble   error  // why it does not get on

	batch []stateful.Row // of the goroutine, used again
}

// add queues rows. The task is locked.
func (r *relay) add(rows []stateful.Row) {
	if len(rows) == 0 {
		return
	}
	r.queue = append(r.queue, rows)
	r.t.rows += len(rows)
	for i := range rows {
		r.t.bytes += int64(rows[i].Size())
	}
}

// start makes the relay run when there is something to publish. The task is locked.
func (r *relay) start() {
	if r.running || r.t.closed || len(r.queue) == 0 {
		return
	}
	r.running = true
	r.t.work.Add(1)
	go r.run()
}

func (r *relay) run() {
	defer r.t.work.Done()
	for {
		rows, handle := r.next()
		if len(rows) == 0 {
			return
		}
		if !r.publish(rows, handle) {
			return
		}
	}
}

// next takes the next batch off the queue: what was prepared together, or as much
// as the limits allow. An empty one ends the goroutine.
func (r *relay) next() (rows []stateful.Row, handle *stateful.Prepared) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	clear(r.batch)
	r.batch = r.batch[:0]
	if len(r.queue) > 0 && len(r.handles) > 0 {
		h := r.handles[0]
		handle, r.handles = &h, r.handles[1:]
	}
	bytes, full := 0, false
	for len(r.queue) > 0 && !full {
		chunk := r.queue[0]
		n := 0
		for n < len(chunk) {
			size := chunk[n].Size()
			if full = r.full(handle, &chunk[n], bytes+size); full {
				break
			}
			bytes += size
			r.batch = append(r.batch, chunk[n])
			n++
		}
		if n < len(chunk) {
			r.queue[0] = chunk[n:]
			break
		}
		r.queue[0] = nil
		r.queue = r.queue[1:]
	}
	if len(r.batch) == 0 {
		r.running = false
	}
	return r.batch, handle
}

// full reports whether row belongs to the batch after the one in hand.
func (r *relay) full(handle *stateful.Prepared, row *stateful.Row, bytes int) bool {
	if handle != nil {
		return row.Seq > handle.Seq
	}
	c := &r.t.o.c
	return len(r.batch) >= c.BatchRows || len(r.batch) > 0 && bytes > c.BatchBytes
}

// publish commits rows until all are published, and reports whether they are.
func (r *relay) publish(rows []stateful.Row, handle *stateful.Prepared) bool {
	for try := 1; ; try++ {
		n, err := r.step(r.t.ctx, rows, handle)
		if n > 0 {
			rows, try = rows[n:], 1
		}
		if len(rows) == 0 {
			r.note(nil, false)
			return true
		}
		if err == nil {
			try = 0
			continue
		}
		if r.t.ctx.Err() != nil {
			return false
		}
		err = fmt.Errorf("outbox: sink %q: publish outputs from %d on: %w", r.to.traits.Name, rows[0].Seq, err)
		final := isFinal(err)
		r.note(err, final)
		if final || clock.Sleep(r.t.ctx, stateful.Backoff(try, r.t.o.c.RetryBase, r.t.o.c.RetryMax)) != nil {
			return false
		}
	}
}

// isFinal reports whether another try is in vain.
func isFinal(err error) bool {
	return stateful.IsPermanent(err) || errors.Is(err, stateful.ErrFenced) || errors.Is(err, stateful.ErrClosed)
}

// errContract is of a sink whose answer cannot be.
var errContract = errors.New("this sink breaks its contract")

// commit returns how many rows are published into a sink, for p. The error is nil when all are.
func (r *relay) commit(ctx context.Context, to *target, p stateful.Producer, rows []stateful.Row, handle *stateful.Prepared) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &stateful.PanicError{Value: v, Stack: debug.Stack()}
			r.t.o.c.Logger.Error("a sink panicked", "sink", to.traits.Name, "reason", v, "stack", string(debug.Stack()))
		}
	}()
	if handle != nil {
		if err := to.prep.CommitPrepared(ctx, p, handle.Handle, rows); err != nil {
			return 0, err
		}
		return len(rows), nil
	}
	n, err = to.Commit(ctx, p, rows)
	switch {
	case n < 0 || n > len(rows) || err == nil && n < len(rows):
		return 0, stateful.Permanent(fmt.Errorf("it says that %d of %d are published and returned %w: %w", n, len(rows), orNone(err), errContract))
	case err != nil && n == len(rows):
		return n, nil // nothing is left to try again
	}
	return n, err
}

var errNone = errors.New("no error")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// done counts rows as published, or as dead-lettered.
func (r *relay) done(rows []stateful.Row, refused bool) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.published = rows[len(rows)-1].Seq
	r.t.rows -= len(rows)
	for i := range rows {
		r.t.bytes -= int64(rows[i].Size())
	}
	r.keep(rows, refused)
	r.t.progress++
	r.t.wake()
}

// keep keeps rows that are published, for a while when the sink may lose them. The task is locked.
func (r *relay) keep(rows []stateful.Row, refused bool) {
	if r.keeps {
		r.kept.add(&r.t.o.c, rows, refused, r.t.now())
		return
	}
	r.trim = max(r.trim, rows[len(rows)-1].Seq)
	if refused {
		r.refused = r.trim
	}
}

// again keeps rows that are stored and were published in an earlier life. The task is locked.
func (r *relay) again(rows []stateful.Row) {
	for len(rows) > 0 && rows[0].Seq <= r.trim {
		rows = rows[1:]
	}
	n := 0
	for n < len(rows) && rows[n].Seq <= r.had {
		n++
	}
	if n > 0 {
		r.keep(rows[:n], false)
	}
	if n < len(rows) {
		r.keep(rows[n:], true) // done with, and the sink does not have them
	}
}

// note remembers why the relay does not get on, nil when it does.
func (r *relay) note(err error, final bool) {
	r.t.mu.Lock()
	if err == nil && r.trouble == nil {
		r.t.mu.Unlock()
		return
	}
	r.trouble = err
	if final {
		if r.t.failed == nil {
			r.t.failed = err
		}
		r.t.wake()
	}
	r.t.mu.Unlock()
	r.t.tell()
}

// empty publishes what is queued, at the first error it stops. The relay does not run.
func (r *relay) empty(ctx context.Context) error {
	for {
		rows, handle := r.next()
		for len(rows) > 0 {
			n, err := r.step(ctx, rows, handle)
			rows = rows[n:]
			if err != nil && len(rows) > 0 {
				return fmt.Errorf("sink %q: publish outputs from %d on: %w", r.to.traits.Name, rows[0].Seq, err)
			}
		}
		if len(r.batch) == 0 {
			return nil
		}
	}
}
