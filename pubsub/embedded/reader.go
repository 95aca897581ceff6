package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// reader delivers one partition, from one goroutine.
type reader struct {
	l   *Log
	p   *partition
	ctx context.Context
	out chan<- *message.Message
	pos int64 // the next record to deliver

	inFlight []delivery // oldest first
	free     []*batchBuffer
	level    int  // how often the limits are doubled
	ended    bool // the end of input is delivered
	backoff  time.Duration
}

type delivery struct {
	msg    *message.Message
	cancel context.CancelFunc
	buf    *batchBuffer
	start  int64
	full   bool
	filled time.Duration
	watch  stopwatch
}

func (l *Log) newReader(ctx context.Context, p *partition, pos int64, out chan<- *message.Message) *reader {
	return &reader{l: l, p: p, ctx: ctx, out: out, pos: pos}
}

// alive returns why nothing more can be read.
func (r *reader) alive() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.p.t.gone.Load() {
		return fmt.Errorf("%w: %q", ErrGone, r.p.t.name)
	}
	return r.l.db.Err()
}

// batches delivers envelopes until the context ends or an error.
func (r *reader) batches() error {
	for {
		if err := r.alive(); err != nil {
			return err
		}
		if err := r.settle(); err != nil {
			return err
		}
		// Taken before looking, so that no record becomes durable unseen in between.
		wake := r.p.waiter()
		if len(r.inFlight) < r.l.c.MaxInFlight {
			d, err := r.next()
			if err != nil {
				return err
			}
			if d != nil {
				if err := r.deliver(d); err != nil {
					return err
				}
				continue
			}
		}
		if err := r.wait(wake); err != nil {
			return err
		}
	}
}

// next returns what is to be delivered now, nil when there is nothing.
func (r *reader) next() (*delivery, error) {
	b := &stateful.Batch{Partition: r.p.name(), Log: r.p.t.log, Start: r.pos, End: r.pos}
	d := delivery{start: r.pos}
	switch end := r.p.visible.Load(); {
	case r.pos < end:
		watch := startWatch()
		d.buf = r.buffer()
		var err error
		d.full, err = r.l.fill(d.buf, r.p, r.pos, end, r.limits())
		if err != nil {
			return nil, err
		}
		b.Records = d.buf.records
		b.End = r.pos + int64(len(b.Records))
		d.filled = watch.elapsed()
	case !r.ended && r.finished():
		b.EndOfInput = true
		r.ended = true
	default:
		return nil, nil
	}
	r.pos = b.End
	ctx, cancel := context.WithCancel(r.ctx)
	d.cancel, d.msg = cancel, stateful.NewEnvelope(ctx, b)
	return &d, nil
}

// finished reports whether all records were delivered and none can follow.
func (r *reader) finished() bool {
	if !r.p.t.sealed.Load() {
		return false
	}
	// Once sealed, next stays, but its records may still be on their way to the disk.
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.pos == r.p.next
}

func (r *reader) deliver(d *delivery) error {
	d.watch = startWatch()
	select {
	case r.out <- d.msg:
		r.inFlight = append(r.inFlight, *d)
		return nil
	case <-r.ctx.Done():
		d.cancel()
		r.pos = d.start
		return r.ctx.Err()
	}
}

// wait returns when the oldest delivery is settled, when there may be more to read
// and room for it, or when the context ends.
func (r *reader) wait(wake <-chan struct{}) error {
	var acked, nacked <-chan struct{}
	if len(r.inFlight) > 0 {
		acked, nacked = r.inFlight[0].msg.Acked(), r.inFlight[0].msg.Nacked()
	}
	if len(r.inFlight) == r.l.c.MaxInFlight {
		wake = nil
	}
	select {
	case <-acked:
	case <-nacked:
	case <-wake:
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	return nil
}

// settle lets go of what was acked from the oldest on. When anything was nacked it waits
// until all is settled, and goes back to the oldest that was not acked.
func (r *reader) settle() error {
	for len(r.inFlight) > 0 && isClosed(r.inFlight[0].msg.Acked()) {
		r.adapt(&r.inFlight[0])
		r.drop(1)
		r.backoff = 0
	}
	for i := range r.inFlight {
		if isClosed(r.inFlight[i].msg.Nacked()) {
			return r.rewind()
		}
	}
	return nil
}

func (r *reader) rewind() error {
	oldest := int64(-1)
	for i := range r.inFlight {
		d := &r.inFlight[i]
		select {
		case <-d.msg.Acked():
		case <-d.msg.Nacked():
			if oldest < 0 {
				oldest = d.start
			}
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	r.drop(len(r.inFlight))
	r.pos, r.ended = oldest, false
	return r.pause()
}

// drop forgets the n oldest deliveries, which are settled.
func (r *reader) drop(n int) {
	for i := range n {
		d := &r.inFlight[i]
		d.cancel()
		if d.buf != nil {
			r.free = append(r.free, d.buf)
		}
	}
	rest := copy(r.inFlight, r.inFlight[n:])
	clear(r.inFlight[rest:])
	r.inFlight = r.inFlight[:rest]
}

// pause waits longer with each failure in a row.
func (r *reader) pause() error {
	r.backoff = min(max(2*r.backoff, r.l.c.RetryBase), r.l.c.RetryMax)
	return clock.Sleep(r.ctx, r.backoff)
}

// close ends the contexts of what is still out, whose memory is left to its holders, and
// returns where another reader would go on.
func (r *reader) close() int64 {
	pos := r.pos
	for i := range r.inFlight {
		pos = min(pos, r.inFlight[i].start)
		r.inFlight[i].cancel()
	}
	r.inFlight = nil
	return pos
}

func (r *reader) buffer() *batchBuffer {
	if n := len(r.free); n > 0 {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b
	}
	return new(batchBuffer)
}

func (r *reader) limits() limits {
	c := &r.l.c
	return limits{
		records: min(c.BatchRecords<<r.level, c.MaxBatchRecords),
		bytes:   min(c.BatchBytes<<r.level, c.MaxBatchBytes),
	}
}

// adapt doubles the limits while handling a batch takes more than twice as long as
// reading it, and halves them otherwise. A batch that was cut short says nothing.
func (r *reader) adapt(d *delivery) {
	if !d.full {
		return
	}
	if d.watch.elapsed() <= 2*d.filled {
		r.level = max(r.level-1, 0)
	} else if l := r.limits(); l.records < r.l.c.MaxBatchRecords || l.bytes < r.l.c.MaxBatchBytes {
		r.level++
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// singles delivers one message per record, one in flight, and calls acked with the
// position after each that was acked.
func (r *reader) singles(acked func(pos int64)) error {
	buf := new(batchBuffer)
	for {
		if err := r.alive(); err != nil {
			return err
		}
		wake := r.p.waiter()
		end := r.p.visible.Load()
		if r.pos >= end {
			if err := r.wait(wake); err != nil {
				return err
			}
			continue
		}
		if _, err := r.l.fill(buf, r.p, r.pos, end, limits{blockRecords, r.l.c.BatchBytes}); err != nil {
			return err
		}
		for i := range buf.records {
			if err := r.single(&buf.records[i]); err != nil {
				return err
			}
			r.pos++
			acked(r.pos)
		}
	}
}

// single delivers rec until it is acked.
func (r *reader) single(rec *stateful.Record) error {
	for {
		if err := r.alive(); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(r.ctx)
		msg := r.p.toMessage(rec)
		msg.SetContext(ctx)
		ok, err := r.offer(msg)
		cancel()
		if err != nil {
			return err
		}
		if ok {
			r.backoff = 0
			return nil
		}
		if err := r.pause(); err != nil {
			return err
		}
	}
}

// offer delivers msg and reports whether it was acked.
func (r *reader) offer(msg *message.Message) (bool, error) {
	select {
	case r.out <- msg:
	case <-r.ctx.Done():
		return false, r.ctx.Err()
	}
	select {
	case <-msg.Acked():
		return true, nil
	case <-msg.Nacked():
		return false, nil
	case <-r.ctx.Done():
		return false, r.ctx.Err()
	}
}
