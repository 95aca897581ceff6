package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
)

// groupTable is who reads a partition and how far each has come. Retention and
// registering exclude each other through mu, so that a group never registers below
// what is being deleted.
type groupTable struct {
	mu        sync.Mutex
	start     int64 // of what is kept
	committed map[string]*committed
	leases    map[string]chan struct{}
}

type committed struct {
	offset int64
	dirty  bool // in the queue of positions to store
}

func (g *groupTable) init() {
	g.committed = make(map[string]*committed)
	g.leases = make(map[string]chan struct{})
}

// commitQueue holds positions that are not yet stored.
type commitQueue struct {
	mu    sync.Mutex
	items []commitItem
	kick  chan struct{}
	trim  atomic.Bool // the next wake of the background goroutine applies the retention

	flush sync.Mutex // held while items are written, so that they are in order
}

type commitItem struct {
	p     *partition
	group string
}

func (q *commitQueue) wake() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// Committed implements stateful.CommitListener. It stores pos soon; a crash may take
// the stored position back, never forward.
func (l *Log) Committed(group string, part stateful.Partition, pos stateful.Position) {
	t := l.lookup(part.Topic)
	if t == nil || t.log != pos.Log || int(part.Index) >= len(t.parts) {
		return
	}
	l.commit(t.parts[part.Index], group, pos.Offset)
}

func (l *Log) commit(p *partition, group string, offset int64) {
	g := &p.groups
	g.mu.Lock()
	c := g.committed[group]
	if c == nil || offset <= c.offset {
		g.mu.Unlock()
		return
	}
	c.offset = offset
	queued := c.dirty
	c.dirty = true
	g.mu.Unlock()
	if !queued {
		l.enqueue(p, group)
	}
}

func (l *Log) enqueue(p *partition, group string) {
	q := &l.dirty
	q.mu.Lock()
	q.items = append(q.items, commitItem{p, group})
	q.mu.Unlock()
	q.wake()
}

// register makes group known with the position it reads from. From then on nothing
// at or above it is deleted before the group has committed it.
func (l *Log) register(p *partition, group string, offset int64) error {
	g := &p.groups
	g.mu.Lock()
	if offset < g.start {
		defer g.mu.Unlock()
		return belowStart(p, group, offset, g.start)
	}
	c := g.committed[group]
	if c == nil {
		c = &committed{}
		g.committed[group] = c
	} else if c.offset == offset {
		g.mu.Unlock()
		return nil
	}
	c.offset = offset
	queued := c.dirty
	c.dirty = true
	g.mu.Unlock()
	if !queued {
		l.enqueue(p, group)
	}
	return nil
}

// stored returns group's position in p, the start of the log when it has none.
func (p *partition) stored(group string) int64 {
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	if c := p.groups.committed[group]; c != nil {
		return c.offset
	}
	return p.groups.start
}

func (p *partition) start() int64 {
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	return p.groups.start
}

// lease returns a channel that takes one value: its holder reads p for group.
func (p *partition) lease(group string) chan struct{} {
	p.groups.mu.Lock()
	defer p.groups.mu.Unlock()
	ch := p.groups.leases[group]
	if ch == nil {
		ch = make(chan struct{}, 1)
		p.groups.leases[group] = ch
	}
	return ch
}

// flushCommitted stores the positions that changed.
func (l *Log) flushCommitted(o *pebble.WriteOptions) error {
	q := &l.dirty
	q.flush.Lock()
	defer q.flush.Unlock()
	q.mu.Lock()
	items := q.items
	q.items = nil
	q.mu.Unlock()
	if len(items) == 0 {
		return nil
	}
	b := l.db.NewBatch()
	for _, it := range items {
		if it.p.t.gone.Load() {
			continue
		}
		g := &it.p.groups
		g.mu.Lock()
		c := g.committed[it.group]
		if c == nil { // forgotten
			g.mu.Unlock()
			continue
		}
		c.dirty = false
		off := c.offset
		g.mu.Unlock()
		if err := b.Set(committedKey(it.p, it.group), encodeOffset(off), nil); err != nil {
			return err
		}
	}
	if err := l.db.Apply(b, o); err != nil {
		return fmt.Errorf("store committed positions: %w", err)
	}
	return b.Close()
}

func committedKey(p *partition, group string) []byte {
	return append(partKey(kindCommitted, p.t.id, p.index), group...)
}

// Forget removes a group that will not read any more, from all topics. Its
// positions no longer hold back retention. A group with a subscription comes back only
// with its next one.
func (l *Log) Forget(group string) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	l.dirty.flush.Lock()
	defer l.dirty.flush.Unlock()
	b := l.db.NewBatch()
	for _, t := range l.snapshot() {
		for _, p := range t.parts {
			p.groups.mu.Lock()
			delete(p.groups.committed, group)
			p.groups.mu.Unlock()
			if err := b.Delete(committedKey(p, group), nil); err != nil {
				return err
			}
		}
	}
	if err := l.db.Apply(b, l.db.WriteOptions()); err != nil {
		return fmt.Errorf("embedded: forget group %q: %w", group, err)
	}
	return b.Close()
}

// Lag returns how many records of topic, in all partitions, group has not committed. A
// group that never read has all of them to go.
func (l *Log) Lag(group, topic string) (int64, error) {
	t, err := l.existing(topic)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, p := range t.parts {
		n += max(0, p.visible.Load()-p.stored(group))
	}
	return n, nil
}

func (l *Log) snapshot() []*topic {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ts := make([]*topic, 0, len(l.topics))
	for _, t := range l.topics {
		ts = append(ts, t)
	}
	return ts
}

// background stores positions and applies the retention until the log closes.
func (l *Log) background() {
	tick, stop := every(min(l.c.RetentionAge, retentionEvery))
	defer stop()
	for {
		trim := false
		select {
		case <-l.ctx.Done():
			return
		case <-l.dirty.kick:
			trim = l.dirty.trim.Swap(false)
		case <-tick:
			trim = true
		}
		err := l.flushCommitted(pebble.NoSync)
		if err == nil && trim {
			err = l.Trim()
		}
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, stateful.ErrClosed) {
			l.c.Logger.Error("embedded: background work failed", err, nil)
		}
	}
}
