package embedded

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/pebbledb"
)

// load reads topics, partitions and groups. All that is found is durable: Pebble
// writes what it recovers from its log to tables before it opens.
func (l *Log) load() error {
	prefix := topicKey("")
	return l.scan(prefix, after(prefix), func(k, v []byte) error {
		name := string(k[len(prefix):])
		meta, err := decodeTopicMeta(v)
		if err != nil {
			return fmt.Errorf("topic %q: %w", name, err)
		}
		t := newTopic(name, meta)
		for _, p := range t.parts {
			if err := l.loadPartition(p); err != nil {
				return fmt.Errorf("partition %s: %w", p.name(), err)
			}
		}
		l.topics[name] = t
		return nil
	})
}

func (l *Log) loadPartition(p *partition) error {
	var start, end int64
	v, closer, err := l.db.Get(partKey(kindMark, p.t.id, p.index))
	if err == nil {
		start, end, err = decodeMark(v)
		err = errors.Join(err, closer.Close())
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	last, err := l.lastOffset(p)
	if err != nil {
		return err
	}
	end = max(end, last)
	p.next = end
	p.visible.Store(end)
	p.groups.start = start
	if l.c.RetentionBytes > 0 {
		if err := l.countBytes(p); err != nil {
			return err
		}
	}
	prefix := partKey(kindCommitted, p.t.id, p.index)
	return l.scan(prefix, after(prefix), func(k, v []byte) error {
		off, err := decodeOffset(v)
		p.groups.committed[string(k[len(prefix):])] = &committed{offset: off}
		return err
	})
}

// lastOffset returns the end of the last block, 0 when there is none.
func (l *Log) lastOffset(p *partition) (int64, error) {
	prefix := partKey(kindRecords, p.t.id, p.index)
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	var end int64
	if it.Last() {
		v, err := it.ValueAndErr()
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		info, err := parseBlock(v)
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		end = recordOffset(it.Key()) + int64(info.count)
	}
	return end, it.Close()
}

func (l *Log) countBytes(p *partition) error {
	prefix := partKey(kindRecords, p.t.id, p.index)
	return l.scan(prefix, after(prefix), func(_, v []byte) error {
		p.bytes.Add(int64(len(v)))
		return nil
	})
}

// scan calls f with each entry of [from, to); k and v are only valid during the call.
func (l *Log) scan(from, to []byte, f func(k, v []byte) error) error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), v)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

func recordKey(p *partition, off int64) []byte {
	return appendRecordKey(make([]byte, 0, 22), p, off)
}

func appendRecordKey(k []byte, p *partition, off int64) []byte {
	k = append(k, pebbledb.SpaceLog, kindRecords)
	k = append(k, p.t.id[:]...)
	k = be.AppendUint32(k, uint32(p.index))
	return be.AppendUint64(k, uint64(off))
}

func recordOffset(key []byte) int64 { return int64(be.Uint64(key[len(key)-8:])) }
