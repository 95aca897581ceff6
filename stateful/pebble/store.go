package pebble

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
)

// store is one ownership of a task.
type store struct {
	b      *Backend
	t      *task
	closed atomic.Bool

	// The owner's alone.
	head stateful.Head
	key  []byte // the prefix, with room for a key

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
	values := make([][]byte, len(keys))
	var buf []byte
	for i, key := range keys {
		s.key = append(s.key[:len(s.t.prefix)], key...)
		v, closer, err := s.b.db.Get(s.key)
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if cap(buf)-len(buf) < len(v) || buf == nil {
			// What was copied stays where it is.
			buf = make([]byte, 0, max(len(v), min(16*(len(keys)-i), 4096)))
		}
		start := len(buf)
		buf = append(buf, v...)
		values[i] = buf[start:len(buf):len(buf)]
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	return values, nil
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
