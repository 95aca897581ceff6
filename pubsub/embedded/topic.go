package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pondage/pondage/stateful"
)

// topic is one incarnation of a topic: deleting or resetting makes another.
type topic struct {
	name   string
	id     logID
	log    string // id as text, the Log of positions
	parts  []*partition
	turn   atomic.Uint32 // for records without a key
	gone   atomic.Bool   // set with all partitions locked
	sealed atomic.Bool   // set with all partitions locked
}

// partition is one sequence of records.
type partition struct {
	t     *topic
	index int32

	// mu is held from giving out offsets until the batch with them is applied: offsets are in
	// the order of the write-ahead log.
	mu   sync.Mutex
	next int64

	visible atomic.Int64 // end of what is durable
	bytes   atomic.Int64 // stored, counted only with RetentionBytes

	wakeMu sync.Mutex
	wakeCh chan struct{}

	groups groupTable
}

func newTopic(name string, m topicMeta) *topic {
	t := &topic{name: name, id: m.id, log: m.id.String(), parts: make([]*partition, m.partitions)}
	t.sealed.Store(m.sealed)
	for i := range t.parts {
		t.parts[i] = &partition{t: t, index: int32(i)}
		t.parts[i].groups.init()
	}
	return t
}

func (p *partition) name() stateful.Partition {
	return stateful.Partition{Topic: p.t.name, Index: p.index}
}

// waiter returns a channel that is closed at the next wake.
func (p *partition) waiter() <-chan struct{} {
	p.wakeMu.Lock()
	defer p.wakeMu.Unlock()
	if p.wakeCh == nil {
		p.wakeCh = make(chan struct{})
	}
	return p.wakeCh
}

func (p *partition) wake() {
	p.wakeMu.Lock()
	defer p.wakeMu.Unlock()
	p.wakeLocked()
}

func (p *partition) wakeLocked() {
	if p.wakeCh != nil {
		close(p.wakeCh)
		p.wakeCh = nil
	}
}

// advance shows readers what lies below end. A later append may say so first: the
// write-ahead log is durable in order, so the earlier one is durable too.
func (p *partition) advance(end int64) {
	p.wakeMu.Lock()
	defer p.wakeMu.Unlock()
	if end > p.visible.Load() {
		p.visible.Store(end)
		p.wakeLocked()
	}
}

// CreateTopic makes sure that topic exists with this number of partitions; 0 takes what
// is stored, or the default of the configuration for a new topic. Another number than stored is refused.
func (l *Log) CreateTopic(name string, partitions int) error {
	_, err := l.openTopic(name, partitions)
	return err
}

// lookup returns a topic, nil when it does not exist.
func (l *Log) lookup(name string) *topic {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.topics[name]
}

// existing returns a topic that must exist.
func (l *Log) existing(name string) (*topic, error) {
	if t := l.lookup(name); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoTopic, name)
}

func (l *Log) openTopic(name string, partitions int) (*topic, error) {
	if t := l.lookup(name); t != nil {
		return t, t.checkCount(partitions)
	}
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	l.admin.Lock()
	defer l.admin.Unlock()
	if t := l.lookup(name); t != nil {
		return t, t.checkCount(partitions)
	}
	if partitions == 0 {
		partitions = l.c.Partitions
	}
	if len(name) == 0 || len(name) > 255 {
		return nil, stateful.Permanent(fmt.Errorf("embedded: topic name %q has %d bytes, want 1 to 255", name, len(name)))
	}
	if partitions < 1 || partitions > MaxPartitions {
		return nil, fmt.Errorf("embedded: topic %q: %d partitions, want 1 to %d", name, partitions, MaxPartitions)
	}
	meta := topicMeta{id: newLogID(), partitions: int32(partitions)}
	if err := l.db.Set(topicKey(name), meta.encode(), l.db.WriteOptions()); err != nil {
		return nil, fmt.Errorf("embedded: create topic %q: %w", name, err)
	}
	t := newTopic(name, meta)
	l.put(t)
	return t, nil
}

func (l *Log) put(t *topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[t.name] = t
}

func newLogID() (id logID) {
	rand.Read(id[:]) // never fails
	return id
}

func (t *topic) checkCount(partitions int) error {
	if partitions != 0 && partitions != len(t.parts) {
		return fmt.Errorf("embedded: topic %q is stored with %d partitions, not %d: ask for %d, or delete the topic and fill it again",
			t.name, len(t.parts), partitions, len(t.parts))
	}
	return nil
}

// Seal marks topic as finished, for good: further appends return [ErrSealed], and
// after its last record each partition's readers get an empty batch marked
// EndOfInput. Sealing again does nothing.
func (l *Log) Seal(name string) error {
	return l.change(name, func(t *topic) error {
		meta := topicMeta{id: t.id, partitions: int32(len(t.parts)), sealed: true}
		if err := l.db.Set(topicKey(name), meta.encode(), l.db.WriteOptions()); err != nil {
			return err
		}
		t.sealed.Store(true)
		return nil
	})
}

// Sealed reports whether topic is finished. It is false for one that does not exist.
func (l *Log) Sealed(name string) bool {
	t := l.lookup(name)
	return t != nil && t.sealed.Load()
}

// DeleteTopic deletes topic with its records and all groups' positions in it. Its
// readers' subscriptions end. Sequences of producers are kept: they are the log's,
// see [Producer.Rewind].
func (l *Log) DeleteTopic(name string) error {
	return l.change(name, func(t *topic) error { return l.remove(t, nil) })
}

// Reset empties topic: it is deleted and made again, with the same number of partitions, not
// sealed, and a new identity.
func (l *Log) Reset(name string) error {
	return l.change(name, func(t *topic) error {
		return l.remove(t, &topicMeta{id: newLogID(), partitions: int32(len(t.parts))})
	})
}

// remove deletes t, whose partitions are locked, and puts next in its place.
func (l *Log) remove(t *topic, next *topicMeta) error {
	b := l.db.NewBatch()
	var errs []error
	for _, kind := range []byte{kindRecords, kindMark, kindCommitted} {
		from, to := logRange(kind, t.id)
		errs = append(errs, b.DeleteRange(from, to, nil))
	}
	if next == nil {
		errs = append(errs, b.Delete(topicKey(t.name), nil))
	} else {
		errs = append(errs, b.Set(topicKey(t.name), next.encode(), nil))
	}
	if err := errors.Join(append(errs, l.db.Apply(b, l.db.WriteOptions()))...); err != nil {
		return err
	}
	t.gone.Store(true)
	l.mu.Lock()
	delete(l.topics, t.name)
	if next != nil {
		l.topics[t.name] = newTopic(t.name, *next)
	}
	l.mu.Unlock()
	return b.Close()
}

// change calls f with all partitions of a topic locked and wakes their readers.
func (l *Log) change(name string, f func(*topic) error) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	l.admin.Lock()
	defer l.admin.Unlock()
	t, err := l.existing(name)
	if err != nil {
		return err
	}
	for _, p := range t.parts {
		p.mu.Lock()
	}
	err = f(t)
	for _, p := range t.parts {
		p.mu.Unlock()
		p.wake()
	}
	if err != nil {
		return fmt.Errorf("embedded: topic %q: %w", name, err)
	}
	return nil
}
