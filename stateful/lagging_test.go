package stateful_test

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/pondage/pondage/stateful"
)

// lagging is a backend whose commits are visible to their store at once and durable when a
// test says so. What is not durable when the task is opened again is gone.
type lagging struct {
	stateful.Backend
	mu      sync.Mutex
	waiting []*lagPending // in order
	opens   int
}

func (b *lagging) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	b.mu.Lock()
	b.opens++
	b.mu.Unlock()
	return &lagStore{Store: s, b: b, over: make(map[string][]byte)}, head, err
}

func (b *lagging) commits() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// land makes the n-th commit durable; those before it are.
func (b *lagging) land(n int) { b.settle(n, nil) }

// fail fails the n-th commit; a store then fails all later ones too, each with err.
func (b *lagging) fail(n int, err error) { b.settle(n, err) }

func (b *lagging) settle(n int, err error) {
	b.mu.Lock()
	p := b.waiting[n-1]
	b.mu.Unlock()
	if err == nil {
		err = p.s.Store.Submit(context.Background(), p.c).Wait(context.Background())
	}
	p.finish(err)
}

type lagPending struct {
	pending
	s *lagStore
	c stateful.Commit
}

type lagStore struct {
	stateful.Store
	b    *lagging
	over map[string][]byte // submitted; nil: deleted
}

func (s *lagStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	vals, err := s.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if v, ok := s.over[k]; ok {
			vals[i] = slices.Clone(v)
		}
	}
	return vals, nil
}

func (s *lagStore) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		all := make(map[string][]byte)
		for e, err := range s.Store.Scan(ctx, from, to) {
			if err != nil {
				yield(e, err)
				return
			}
			all[e.Key] = slices.Clone(e.Value)
		}
		for k, v := range s.over {
			if k >= from && (to == "" || k < to) {
				all[k] = v
			}
		}
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if all[k] != nil && !yield(stateful.Entry{Key: k, Value: all[k]}, nil) {
				return
			}
		}
	}
}

func (s *lagStore) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	for _, w := range c.Writes {
		s.over[w.Key] = slices.Clone(w.Value)
	}
	p := &lagPending{pending: *newPending(), s: s, c: c}
	s.b.mu.Lock()
	s.b.waiting = append(s.b.waiting, p)
	s.b.mu.Unlock()
	return p
}
