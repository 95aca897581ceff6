package embedded

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
)

// batchBuffer holds the records of one fill. Its memory is used again for another
// one when nobody looks at the records any more.
type batchBuffer struct {
	records []stateful.Record
	headers []stateful.Header
	chunks  [][]byte // where keys and values are; never moved while records refer to them
	used    int      // of chunks
	bytes   int
}

const (
	minChunk = 16 << 10
	maxChunk = 1 << 20
)

func (b *batchBuffer) reset() {
	// Headers of the fill before must not keep their text alive.
	clear(b.headers)
	b.records, b.headers, b.used, b.bytes = b.records[:0], b.headers[:0], 0, 0
	for i := range b.chunks {
		b.chunks[i] = b.chunks[i][:0]
	}
}

// keep copies v to memory that lives as long as the records.
func (b *batchBuffer) keep(v []byte) []byte {
	for b.used < len(b.chunks) && cap(b.chunks[b.used])-len(b.chunks[b.used]) < len(v) {
		b.used++
	}
	if b.used == len(b.chunks) {
		size := minChunk
		if n := len(b.chunks); n > 0 {
			size = min(2*cap(b.chunks[n-1]), maxChunk)
		}
		b.chunks = append(b.chunks, make([]byte, 0, max(size, len(v))))
	}
	c := &b.chunks[b.used]
	n := len(*c)
	*c = append(*c, v...)
	return (*c)[n:]
}

// limits bound one fill. A first block is cut only when it alone has too many records.
type limits struct{ records, bytes int }

// fill reads records of p from offset from, which is below end, up to end at
// most. It reports whether it stopped at a limit.
func (l *Log) fill(b *batchBuffer, p *partition, from, end int64, lim limits) (full bool, err error) {
	b.reset()
	prefix := partKey(kindRecords, p.t.id, p.index)
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: recordKey(p, end)})
	if err != nil {
		return false, err
	}
	// The block that holds from begins there or before.
	full, err = b.blocks(it, it.SeekLT(recordKey(p, from+1)), from, end, lim)
	if err = errors.Join(err, it.Close()); err != nil {
		return false, err
	}
	if next := from + int64(len(b.records)); !full && next < end {
		return false, fmt.Errorf("records [%d,%d) are missing: the data folder is damaged, restore a copy", next, end)
	}
	return full, nil
}

// blocks decodes from the block the iterator is at, if ok, which must hold from.
func (b *batchBuffer) blocks(it *pebble.Iterator, ok bool, from, end int64, lim limits) (full bool, err error) {
	next := from
	for ; ok && next < end; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return false, err
		}
		info, err := parseBlock(v)
		if err != nil {
			return false, err
		}
		base := recordOffset(it.Key())
		if base > next || base+int64(info.count) <= next {
			return false, fmt.Errorf("found records [%d,%d) where %d should be: the data folder is damaged, restore a copy",
				base, base+int64(info.count), next)
		}
		room := lim.records - len(b.records)
		skip := int(next - base)
		if len(b.records) > 0 && (info.count-skip > room || b.bytes+len(v) > lim.bytes) {
			return true, nil
		}
		if err := decodeBlock(b, b.keep(v), base, skip, room); err != nil {
			return false, fmt.Errorf("at offset %d: %w", base, err)
		}
		b.bytes += len(v)
		next = from + int64(len(b.records))
		if len(b.records) >= lim.records || b.bytes >= lim.bytes || next < base+int64(info.count) {
			return true, nil
		}
	}
	return false, it.Error()
}

// Read yields the records of a partition in order, from offset from up to what was durable when
// it was called. A record and its memory are only valid until the next one. An offset that is
// below the start or beyond the end is an error, after which it ends.
func (l *Log) Read(topic string, part int32, from int64) iter.Seq2[stateful.Record, error] {
	return func(yield func(stateful.Record, error) bool) {
		fail := func(err error) { yield(stateful.Record{}, fmt.Errorf("embedded: read %s/%d: %w", topic, part, err)) }
		p, err := l.partition(topic, part)
		if err != nil {
			fail(err)
			return
		}
		if err := l.enter(); err != nil {
			fail(err)
			return
		}
		defer l.leave()
		end := p.visible.Load()
		if start := p.start(); from < start || from > end {
			fail(fmt.Errorf("offset %d is not in the log, which holds [%d,%d)", from, start, end))
			return
		}
		var b batchBuffer
		for from < end {
			if _, err := l.fill(&b, p, from, end, limits{l.c.BatchRecords, l.c.BatchBytes}); err != nil {
				fail(err)
				return
			}
			for i := range b.records {
				if !yield(b.records[i], nil) {
					return
				}
			}
			from += int64(len(b.records))
		}
	}
}

func (l *Log) partition(topic string, part int32) (*partition, error) {
	t, err := l.existing(topic)
	if err != nil {
		return nil, err
	}
	if part < 0 || int(part) >= len(t.parts) {
		return nil, fmt.Errorf("embedded: topic %q has partitions 0 to %d, not %d", topic, len(t.parts)-1, part)
	}
	return t.parts[part], nil
}

// StartOffset returns the offset of the first record that is kept.
func (l *Log) StartOffset(topic string, part int32) (int64, error) {
	p, err := l.partition(topic, part)
	if err != nil {
		return 0, err
	}
	return p.start(), nil
}

// EndOffset returns the offset after the last durable record.
func (l *Log) EndOffset(topic string, part int32) (int64, error) {
	p, err := l.partition(topic, part)
	if err != nil {
		return 0, err
	}
	return p.visible.Load(), nil
}

// Position returns the place after the last durable record, with the log's identity.
func (l *Log) Position(topic string, part int32) (stateful.Position, error) {
	p, err := l.partition(topic, part)
	if err != nil {
		return stateful.Position{}, err
	}
	return stateful.Position{Log: p.t.log, Offset: p.visible.Load()}, nil
}

// Partitions returns the number of partitions of topic.
func (l *Log) Partitions(topic string) (int, error) {
	t, err := l.existing(topic)
	if err != nil {
		return 0, err
	}
	return len(t.parts), nil
}

// Topics returns the names of all topics, sorted.
func (l *Log) Topics() []string {
	var names []string
	for _, t := range l.snapshot() {
		names = append(names, t.name)
	}
	slices.Sort(names)
	return names
}
