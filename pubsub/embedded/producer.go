package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
)

// cursor is what the log has taken of one producer.
type cursor struct {
	key []byte

	// mu is held from reading the stamp until the append that moves it is applied.
	// It is taken before partitions are.
	mu     sync.Mutex
	stamp  stamp
	loaded bool
}

func (l *Log) cursor(key []byte) *cursor {
	l.cursorsMu.Lock()
	defer l.cursorsMu.Unlock()
	c := l.cursors[string(key)]
	if c == nil {
		c = &cursor{key: key}
		l.cursors[string(key)] = c
	}
	return c
}

// load reads the stored stamp once. c is locked.
func (c *cursor) load(l *Log) error {
	if c.loaded {
		return nil
	}
	v, closer, err := l.db.Get(c.key)
	if errors.Is(err, pebble.ErrNotFound) {
		c.loaded = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("embedded: read cursor: %w", err)
	}
	s, err := decodeStamp(v)
	if err := errors.Join(err, closer.Close()); err != nil {
		return fmt.Errorf("embedded: read cursor: %w", err)
	}
	c.stamp, c.loaded = s, true
	return nil
}

// admit returns what the stamp becomes when who appends, before its sequences. A
// lower (incarnation, epoch) than stored is refused (K1); a higher incarnation begins at
// sequence 0. c is locked.
func (c *cursor) admit(l *Log, who stamp) (stamp, error) {
	if err := c.load(l); err != nil {
		return stamp{}, err
	}
	old := c.stamp
	if who.incarnation < old.incarnation || who.incarnation == old.incarnation && who.epoch < old.epoch {
		return stamp{}, fmt.Errorf("embedded: producer has incarnation %d and epoch %d, the log has seen %d and %d: %w",
			who.incarnation, who.epoch, old.incarnation, old.epoch, stateful.ErrFenced)
	}
	if who.incarnation == old.incarnation {
		who.seq = old.seq
	} else {
		who.seq = 0
	}
	return who, nil
}

// addRows adds the rows above last. Sequences must rise, else a row could be taken for
// one that is already there.
func (a *appender) addRows(rows []stateful.Row, last uint64, keyless int32) error {
	var t *topic
	var prev uint64
	for i := range rows {
		r := &rows[i]
		if r.Seq <= prev {
			return stateful.Permanent(fmt.Errorf("embedded: row with sequence %d after %d: sequences begin at 1 and must rise", r.Seq, prev))
		}
		prev = r.Seq
		if r.Seq <= last {
			continue
		}
		if t == nil || t.name != r.Topic {
			var err error
			if t, err = a.l.openTopic(r.Topic, 0); err != nil {
				return err
			}
		}
		if err := a.add(a.topic(t), r.Key, r.Payload, r.Headers, r.Time, keyless); err != nil {
			return err
		}
		a.stamp.seq = r.Seq
	}
	return nil
}

func taskStamp(p stateful.Producer) stamp { return stamp{p.Incarnation, p.Epoch, 0} }

// AppendRows appends the rows of a task's outbox to their topics in one batch with the
// task's cursor, and returns when both are durable: also when all rows were there
// already. Rows at or below the cursor's sequence are skipped. A producer of a lower (incarnation,
// epoch) than the log has seen gets stateful.ErrFenced. Rows without a key go to the partition of the
// task's index, modulo their number, so that they keep their order. The rows' memory is the caller's again on return.
func (l *Log) AppendRows(ctx context.Context, p stateful.Producer, rows []stateful.Row) error {
	return l.do(ctx, l.cursor(taskProducerKey(p)), taskStamp(p), func(a *appender, last uint64) error {
		return a.addRows(rows, last, max(p.Partition, 0))
	})
}

// Check returns why row would be refused for ever, nil when it would not (K4).
func (l *Log) Check(row *stateful.Row) error {
	n := len(row.Key) + len(row.Payload)
	for _, h := range row.Headers {
		n += len(h.Key) + len(h.Value)
	}
	if n > l.c.MaxRecordBytes || len(row.Key) > l.c.MaxKeyBytes {
		return l.tooLarge(row.Topic, len(row.Key), n)
	}
	t := l.lookup(row.Topic)
	if t == nil {
		return nil
	}
	return t.writable()
}

// Fence makes sure, durably, that no producer of a lower (incarnation, epoch) than
// p's appends any more, and returns the sequence up to which the log has p's rows. A
// p that is itself too old gets stateful.ErrFenced.
func (l *Log) Fence(ctx context.Context, p stateful.Producer) (seq uint64, err error) {
	err = l.do(ctx, l.cursor(taskProducerKey(p)), taskStamp(p), func(_ *appender, last uint64) error {
		seq = last
		return nil
	})
	return seq, err
}

// Cursor returns the epoch and sequence the log has of p's incarnation; both are 0 when
// it has none. A p of a lower incarnation than the log has seen gets stateful.ErrFenced.
func (l *Log) Cursor(p stateful.Producer) (epoch, seq uint64, err error) {
	if err := l.enter(); err != nil {
		return 0, 0, err
	}
	defer l.leave()
	c := l.cursor(taskProducerKey(p))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(l); err != nil {
		return 0, 0, err
	}
	switch s := c.stamp; {
	case s.incarnation == p.Incarnation:
		return s.epoch, s.seq, nil
	case s.incarnation < p.Incarnation:
		return 0, 0, nil
	default:
		return 0, 0, fmt.Errorf("embedded: producer has incarnation %d, the log has seen %d: %w",
			p.Incarnation, s.incarnation, stateful.ErrFenced)
	}
}

// Producer appends with sequences of the caller's choice, such as a line number in
// a file, so that what is appended again after a crash is not there twice. Its
// cursor is the log's: one rising sequence over all topics. A Producer may be used by
// several goroutines, but then their sequences must rise in the order of the calls.
type Producer struct {
	l   *Log
	cur *cursor
	who stamp
}

// NewProducer returns the producer of this id, 1 to 255 bytes. Those made before with the same id
// get stateful.ErrFenced from then on, also those of an earlier process.
func (l *Log) NewProducer(ctx context.Context, id string) (*Producer, error) {
	if len(id) == 0 || len(id) > 255 {
		return nil, fmt.Errorf("embedded: producer id %q has %d bytes, want 1 to 255", id, len(id))
	}
	p := &Producer{l: l, cur: l.cursor(namedProducerKey(id))}
	err := l.do(ctx, p.cur, stamp{epoch: math.MaxUint64}, func(a *appender, _ uint64) error {
		a.stamp.epoch = p.cur.stamp.epoch + 1
		p.who = stamp{epoch: a.stamp.epoch}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Sequence returns the highest sequence that was appended, 0 when there was none.
func (p *Producer) Sequence() uint64 {
	p.cur.mu.Lock()
	defer p.cur.mu.Unlock()
	return p.cur.stamp.seq
}

// Append is [Log.Append] of records whose sequences are seq, seq+1 and so on; seq is at
// least 1. Records up to [Producer.Sequence] are skipped.
func (p *Producer) Append(ctx context.Context, topic string, seq uint64, records ...stateful.Record) error {
	if seq == 0 {
		return errors.New("embedded: sequence 0: sequences begin at 1")
	}
	return p.l.do(ctx, p.cur, p.who, func(a *appender, last uint64) error {
		skip := uint64(0)
		if seq <= last {
			skip = min(last-seq+1, uint64(len(records)))
		}
		if skip < uint64(len(records)) {
			a.stamp.seq = seq + uint64(len(records)) - 1
		}
		return a.addRecords(topic, records[skip:])
	})
}

// AppendRows is [Producer.Append] of rows with their own sequences and topics, in one
// batch. The sequences must rise and may leave gaps. Rows without a key follow [Log.Append].
func (p *Producer) AppendRows(ctx context.Context, rows []stateful.Row) error {
	return p.l.do(ctx, p.cur, p.who, func(a *appender, last uint64) error {
		return a.addRows(rows, last, -1)
	})
}

// Rewind makes the producer begin again at sequence 0, durably: for a producer whose
// topics were deleted or reset.
func (p *Producer) Rewind(ctx context.Context) error {
	return p.l.do(ctx, p.cur, p.who, func(a *appender, _ uint64) error {
		a.stamp.seq = 0
		return nil
	})
}
