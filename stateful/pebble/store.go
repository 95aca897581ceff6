package pebble

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/stateful"
)

// store is one ownership of a task.
type store struct {
	b      *Backend
	t      *task
	closed atomic.Bool

	// The owner's alone.
	head  stateful.Head
	key   []byte           // the prefix, with room for a key
	order []int            // of the keys of a Get, sorted
	ranks []keysort.Ranked // of the keys of a commit

	mu       sync.Mutex
	queue    []*pending // applied and not yet known to be durable, oldest first
	settling bool       // a goroutine empties the queue
	failed   error      // of the first commit that failed
}

var (
	_ stateful.Store  = (*store)(nil)
	_ stateful.Joiner = (*store)(nil)
)

func newStore(b *Backend, t *task, head stateful.Head) *store {
	return &store{b: b, t: t, head: head, key: append([]byte(nil), t.prefix...)}
}

// enter checks that the store can be used. After nil, leave must be called.
func (s *store) enter() error {
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	if err := s.b.gate.enter(); err != nil {
		return err
	}
	err := s.b.db.Err()
	if err == nil && s.t.owner.Load() != s {
		err = stateful.ErrFenced
	}
	if err != nil {
		s.b.gate.leave()
	}
	return err
}

func (s *store) leave() { s.b.gate.leave() }

func (s *store) wrap(doing string, err error) error {
	return fmt.Errorf("pebble: %s task %q: %w", doing, s.t.prefix[1:], err)
}

// Get implements [stateful.Store].
func (s *store) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	values, err := s.get(ctx, keys)
	if err != nil {
		return nil, s.wrap("get from", err)
	}
	return values, nil
}

func (s *store) get(ctx context.Context, keys []string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(keys) >= iterateFrom {
		return s.getMany(keys)
	}
	c := copier{values: make([][]byte, len(keys))}
	for i, key := range keys {
		v, closer, err := s.b.db.Get(s.fullKey(key))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.put(i, v)
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	return c.values, nil
}

// iterateFrom is the number of keys from which one iterator that goes through
// them in order is cheaper than a lookup for each.
const iterateFrom = 4

func (s *store) getMany(keys []string) (_ [][]byte, err error) {
	s.order = s.order[:0]
	for i := range keys {
		s.order = append(s.order, i)
	}
	slices.SortFunc(s.order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	it, err := s.b.db.NewIter(&pebble.IterOptions{LowerBound: s.t.prefix, UpperBound: s.t.end})
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := it.Close(); e != nil {
			err = e
		}
	}()
	c := copier{values: make([][]byte, len(keys))}
	for _, i := range s.order {
		// The whole key is its prefix: only an equal one is found, and the Bloom filters
		// are asked.
		if !it.SeekPrefixGE(s.fullKey(keys[i])) {
			if err := it.Error(); err != nil { // the next seek clears it
				return nil, err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		c.put(i, v)
	}
	return c.values, nil
}

func (s *store) fullKey(key string) []byte {
	s.key = append(s.key[:len(s.t.prefix)], key...)
	return s.key
}

// copier keeps copies of values in few pieces of memory.
type copier struct {
	values [][]byte
	buf    []byte
}

func (c *copier) put(i int, v []byte) {
	if cap(c.buf)-len(c.buf) < len(v) || c.buf == nil {
		// What was copied before stays where it is.
		c.buf = make([]byte, 0, max(len(v), min(16*len(c.values), 4096)))
	}
	start := len(c.buf)
	c.buf = append(c.buf, v...)
	c.values[i] = c.buf[start:len(c.buf):len(c.buf)]
}

// Scan implements [stateful.Store].
func (s *store) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		if err := s.scan(ctx, from, to, yield); err != nil {
			yield(stateful.Entry{}, s.wrap("scan", err))
		}
	}
}

func (s *store) scan(ctx context.Context, from, to string, yield func(stateful.Entry, error) bool) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if to != "" && from >= to {
		return nil
	}
	prefix := s.t.prefix
	bounds := pebble.IterOptions{LowerBound: append(prefix[:len(prefix):len(prefix)], from...), UpperBound: s.t.end}
	if to != "" {
		bounds.UpperBound = append(prefix[:len(prefix):len(prefix)], to...)
	}
	it, err := s.b.db.NewIterWithContext(ctx, &bounds)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if e := it.Close(); e != nil && err == nil && !stopped {
			err = e
		}
	}()
	// A copy: what the caller does to it must not reach the database's memory.
	value := []byte{}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		value = append(value[:0], v...)
		if stopped = !yield(stateful.Entry{Key: string(it.Key()[len(prefix):]), Value: value}, nil); stopped {
			return nil
		}
	}
	return it.Error()
}

// CanJoin implements [stateful.Joiner].
func (s *store) CanJoin(db any) bool { return db == any(s.b.db) }

// Close implements [stateful.Store].
func (s *store) Close() error {
	s.closed.Store(true)
	return nil
}
