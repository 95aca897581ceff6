package embedded

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// retentionEvery is how often RetentionAge is looked at; a shorter age is looked at as often as itself.
const retentionEvery = time.Minute

// Trim deletes what is beyond the retention and committed by all known groups. It
// is also done in the background.
func (l *Log) Trim() error {
	if l.c.RetentionBytes == 0 && l.c.RetentionAge == 0 {
		return nil
	}
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	// A stored position must never be below the start, so positions go to the
	// write-ahead log first.
	if err := l.flushCommitted(pebble.NoSync); err != nil {
		return fmt.Errorf("embedded: trim: %w", err)
	}
	var errs []error
	for _, t := range l.snapshot() {
		for _, p := range t.parts {
			if err := l.trim(p); err != nil {
				errs = append(errs, fmt.Errorf("embedded: trim %s: %w", p.name(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// trim moves the start of p and then deletes below it. Whole blocks go.
func (l *Log) trim(p *partition) error {
	from := p.start()
	bound := p.bound()
	if bound == from {
		return nil
	}
	start, freed, err := l.expired(p, from, bound)
	if err != nil || start == from {
		return err
	}
	g := &p.groups
	g.mu.Lock()
	for _, c := range g.committed {
		// A group may have registered since, further back.
		if c.offset < start {
			g.mu.Unlock()
			return nil
		}
	}
	g.start = start
	g.mu.Unlock()
	p.bytes.Add(-freed)
	b := l.db.NewBatch()
	err = errors.Join(
		b.DeleteRange(recordKey(p, from), recordKey(p, start), nil),
		b.Set(partKey(kindMark, p.t.id, p.index), encodeMark(start, p.visible.Load()), nil),
	)
	if err != nil {
		return err
	}
	if p.t.gone.Load() {
		return b.Close()
	}
	if err := l.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

// bound returns up to where p may be deleted: what is durable and committed by
// every known group.
func (p *partition) bound() int64 {
	bound := p.visible.Load()
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	for _, c := range p.groups.committed {
		bound = min(bound, c.offset)
	}
	return max(bound, p.groups.start)
}

// expired returns the end of the last block of [from, bound) that is beyond the
// retention, and how many bytes lie below it.
func (l *Log) expired(p *partition, from, bound int64) (start, freed int64, err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: recordKey(p, from), UpperBound: recordKey(p, bound),
	})
	if err != nil {
		return 0, 0, err
	}
	start = from
	now, over := l.millis(), p.bytes.Load()-l.c.RetentionBytes
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return 0, 0, errors.Join(err, it.Close())
		}
		info, err := parseBlock(v)
		if err != nil {
			return 0, 0, errors.Join(err, it.Close())
		}
		big := l.c.RetentionBytes > 0 && freed < over
		old := l.c.RetentionAge > 0 && info.appended < now-l.c.RetentionAge.Milliseconds()
		end := recordOffset(it.Key()) + int64(info.count)
		if end > bound || !big && !old {
			break
		}
		start, freed = end, freed+int64(len(v))
	}
	return start, freed, it.Close()
}
