package embedded

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
)

// appender is one append on its way: records grouped by partition, in blocks. It is
// used for plain appends and for joins alike:
//
//	add..., lock, write, applied (unlocks), durable
type appender struct {
	l      *Log
	now    int64
	bytes  int64
	topics []topicAppend
	parts  []*partAppend // those with records, in the order of locking
	cur    *cursor       // nil without a producer
	stamp  stamp         // what cur becomes
}

type topicAppend struct {
	t     *topic
	turn  int // the partition of this append's records without a key
	parts []partAppend
}

type partAppend struct {
	builder
	p   *partition
	end int64 // known after write
}

var appenders = sync.Pool{New: func() any { return new(appender) }}

func (l *Log) newAppender() *appender {
	a := appenders.Get().(*appender)
	a.l, a.now = l, l.millis()
	return a
}

// maxPooledBytes keeps rare huge appends from holding their memory for ever.
const maxPooledBytes = 8 << 20

func (a *appender) release() {
	if a.bytes > maxPooledBytes {
		return
	}
	for i := range a.topics {
		a.topics[i].t = nil
		for j := range a.topics[i].parts {
			a.topics[i].parts[j].p = nil
		}
	}
	clear(a.parts)
	*a = appender{topics: a.topics[:0], parts: a.parts[:0]}
	appenders.Put(a)
}

// topic returns the part of t in this append. It is valid until the next call.
func (a *appender) topic(t *topic) *topicAppend {
	for i := range a.topics {
		if a.topics[i].t == t {
			return &a.topics[i]
		}
	}
	if len(a.topics) < cap(a.topics) {
		a.topics = a.topics[:len(a.topics)+1] // its builders are used again
	} else {
		a.topics = append(a.topics, topicAppend{})
	}
	ta := &a.topics[len(a.topics)-1]
	ta.t, ta.turn = t, -1
	if cap(ta.parts) < len(t.parts) {
		ta.parts = make([]partAppend, len(t.parts))
	}
	ta.parts = ta.parts[:len(t.parts)]
	for i, p := range t.parts {
		ta.parts[i].p = p
		ta.parts[i].reset(a.now)
	}
	return ta
}

// add routes one record. Records without a key go to partition keyless; when that is
// negative, all of one append to one partition, and those of the next append to the next.
func (a *appender) add(ta *topicAppend, key, value []byte, headers []stateful.Header, time int64, keyless int32) error {
	n := len(key) + len(value)
	for i := range headers {
		n += len(headers[i].Key) + len(headers[i].Value)
	}
	if n > a.l.c.MaxRecordBytes || len(key) > a.l.c.MaxKeyBytes {
		return a.l.tooLarge(ta.t.name, len(key), n)
	}
	a.bytes += int64(n)
	var i int
	switch {
	case len(ta.parts) == 1:
	case key != nil:
		i = stateful.Murmur2Partitioner(key, len(ta.parts))
	case keyless >= 0:
		i = int(keyless) % len(ta.parts)
	default:
		if ta.turn < 0 {
			ta.turn = int((ta.t.turn.Add(1) - 1) % uint32(len(ta.parts)))
		}
		i = ta.turn
	}
	ta.parts[i].add(key, value, headers, time)
	return nil
}

func (l *Log) tooLarge(topic string, key, size int) error {
	return stateful.Permanent(fmt.Errorf("%w: %d bytes with a key of %d bytes for topic %q, the limits are MaxRecordBytes %d and MaxKeyBytes %d",
		ErrTooLarge, size, key, topic, l.c.MaxRecordBytes, l.c.MaxKeyBytes))
}

// lock closes the blocks and locks their partitions, always in the same order, so that two
// appends never wait for each other.
func (a *appender) lock() error {
	for i := range a.topics {
		for j := range a.topics[i].parts {
			if pa := &a.topics[i].parts[j]; pa.total > 0 {
				pa.finish()
				a.parts = append(a.parts, pa)
			}
		}
	}
	slices.SortFunc(a.parts, func(x, y *partAppend) int {
		if c := bytes.Compare(x.p.t.id[:], y.p.t.id[:]); c != 0 {
			return c
		}
		return cmp.Compare(x.p.index, y.p.index)
	})
	for _, pa := range a.parts {
		pa.p.mu.Lock()
	}
	for _, pa := range a.parts {
		if err := pa.p.t.writable(); err != nil {
			a.unlock()
			return err
		}
	}
	return nil
}

func (a *appender) unlock() {
	for _, pa := range a.parts {
		pa.p.mu.Unlock()
	}
}

func (t *topic) writable() error {
	if t.gone.Load() {
		return fmt.Errorf("%w: %q", ErrGone, t.name)
	}
	if t.sealed.Load() {
		return stateful.Permanent(fmt.Errorf("%w: %q", ErrSealed, t.name))
	}
	return nil
}

// write gives out the offsets and writes blocks and cursor. The partitions are locked.
func (a *appender) write(w stateful.BatchWriter) error {
	var key [22]byte
	for _, pa := range a.parts {
		off, begin := pa.p.next, 0
		for _, e := range pa.ends {
			if err := w.Set(appendRecordKey(key[:0], pa.p, off), pa.buf[begin:e.end]); err != nil {
				return err
			}
			off, begin = off+int64(e.count), e.end
		}
		pa.end = off
	}
	if a.cur != nil {
		return w.Set(a.cur.key, a.stamp.encode())
	}
	return nil
}

// applied keeps the offsets, or on an error gives them back, and unlocks.
func (a *appender) applied(err error) {
	if err == nil {
		for _, pa := range a.parts {
			pa.p.next = pa.end
			if a.l.c.RetentionBytes > 0 {
				pa.p.bytes.Add(int64(len(pa.buf)))
			}
		}
		if a.cur != nil {
			a.cur.stamp = a.stamp
		}
	}
	a.unlock()
}

// durable shows the records to readers, or marks the log dead.
func (a *appender) durable(err error) {
	if err != nil {
		a.l.fail(err)
		return
	}
	for _, pa := range a.parts {
		pa.p.advance(pa.end)
		if r := a.l.c.RetentionBytes; r > 0 && pa.p.bytes.Load() > r {
			a.l.dirty.trim.Store(true)
			a.l.dirty.wake()
		}
	}
}

// batchWriter makes a Pebble batch a stateful.BatchWriter.
type batchWriter struct{ b *pebble.Batch }

func (w batchWriter) Set(key, value []byte) error { return w.b.Set(key, value, nil) }
func (w batchWriter) Delete(key []byte) error     { return w.b.Delete(key, nil) }

// Append appends records to topic, all or none, and returns when they are durable. The topic
// is created when it does not exist. Records with a key go to the partition that Kafka's
// default partitioner gives; those without are kept together, in the next partition with
// each Append. Offset and ID are not looked at; a Time of stateful.NoTime becomes the time of the append.
//
// It waits while MaxPendingBytes are on their way. A context that ends while it waits
// for room ends it with nothing appended. The records' memory is the caller's again on return.
func (l *Log) Append(ctx context.Context, topic string, records ...stateful.Record) error {
	return l.do(ctx, nil, stamp{}, func(a *appender, _ uint64) error {
		return a.addRecords(topic, records)
	})
}

func (a *appender) addRecords(topic string, records []stateful.Record) error {
	t, err := a.l.openTopic(topic, 0)
	if err != nil || len(records) == 0 {
		return err
	}
	ta := a.topic(t)
	for i := range records {
		r := &records[i]
		if err := a.add(ta, r.Key, r.Value, r.Headers, r.Time, -1); err != nil {
			return err
		}
	}
	return nil
}

// do runs one append. fill adds the records whose sequence is above last. With a cursor
// it stores who as well, even when nothing is left to append: what an earlier append wrote is then durable too.
func (l *Log) do(ctx context.Context, cur *cursor, who stamp, fill func(a *appender, last uint64) error) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	a := l.newAppender()
	var last uint64
	if cur != nil {
		cur.mu.Lock()
		next, err := cur.admit(l, who)
		if err != nil {
			cur.mu.Unlock()
			return err
		}
		a.cur, a.stamp, last = cur, next, next.seq
	}
	unlock := func() {
		if cur != nil {
			cur.mu.Unlock()
		}
	}
	if err := fill(a, last); err != nil || len(a.topics) == 0 && cur == nil {
		unlock()
		return err
	}
	room := min(a.bytes, l.c.MaxPendingBytes)
	if err := l.pending.Acquire(ctx, room); err != nil {
		unlock()
		return fmt.Errorf("embedded: waiting for earlier appends to become durable: %w", err)
	}
	defer l.pending.Release(room)
	return l.apply(a, unlock)
}

// apply writes a in a batch of its own. unlock frees the producer as soon as the
// order of its appends is fixed.
func (l *Log) apply(a *appender, unlock func()) error {
	if err := a.lock(); err != nil {
		unlock()
		return err
	}
	b := l.db.NewBatchWithSize(int(a.bytes)*9/8 + 256)
	err := a.write(batchWriter{b})
	if err == nil {
		err = l.db.ApplyNoSyncWait(b, l.db.WriteOptions())
	}
	a.applied(err)
	unlock()
	if err != nil {
		return fmt.Errorf("embedded: append: %w", err)
	}
	err = l.db.SyncWait(b)
	a.durable(err)
	if err != nil {
		return fmt.Errorf("embedded: append: %w", err)
	}
	a.release()
	return b.Close()
}
