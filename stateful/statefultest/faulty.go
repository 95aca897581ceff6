package statefultest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/pondage/pondage/stateful"
)

// Faulty returns a backend on b of whose commits a share, from 0 to 1, are reported
// as [stateful.ErrCommitUnknown]: one half of these fails before it takes effect,
// the other after. Which ones depends only on seed, on the task, and on how many
// commits were submitted to the task before. After such a commit the store fails
// every call until the task is opened again.
//
// Closing it closes b.
func Faulty(b stateful.Backend, seed uint64, share float64) stateful.Backend {
	return faulty(b, func(id stateful.TaskID, n uint64) (fails, before bool) {
		r := rand.New(rand.NewPCG(seed, xxhash.Sum64String(id.String())+n*0x9e3779b97f4a7c15))
		return r.Float64() < share, r.IntN(2) == 0
	})
}

// chooser says whether the n-th commit of a task fails, and if so whether before
// or after it takes effect.
type chooser func(id stateful.TaskID, n uint64) (fails, before bool)

func faulty(b stateful.Backend, choose chooser) stateful.Backend {
	return &faultyBackend{Backend: b, choose: choose, submits: map[stateful.TaskID]uint64{}}
}

type faultyBackend struct {
	stateful.Backend
	choose  chooser
	mu      sync.Mutex
	submits map[stateful.TaskID]uint64
}

func (b *faultyBackend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.Backend.Open(ctx, id)
	if err != nil {
		return nil, stateful.Head{}, err
	}
	return &faultyStore{Store: s, b: b, id: id}, head, nil
}

func (b *faultyBackend) next(id stateful.TaskID) (fails, before bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.submits[id]
	b.submits[id]++
	return b.choose(id, n)
}

type faultyStore struct {
	stateful.Store
	b      *faultyBackend
	id     stateful.TaskID
	broken error
}

// CanJoin implements [stateful.Joiner] when the store below does.
func (s *faultyStore) CanJoin(db any) bool {
	j, ok := s.Store.(stateful.Joiner)
	return ok && j.CanJoin(db)
}

func (s *faultyStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	return s.Store.Get(ctx, keys...)
}

func (s *faultyStore) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	if s.broken != nil {
		return func(yield func(stateful.Entry, error) bool) { yield(stateful.Entry{}, s.broken) }
	}
	return s.Store.Scan(ctx, from, to)
}

func (s *faultyStore) Submit(ctx context.Context, c stateful.Commit) stateful.Pending {
	if s.broken != nil {
		return lost{err: s.broken}
	}
	fails, before := s.b.next(s.id)
	if !fails {
		return s.Store.Submit(ctx, c)
	}
	err := fmt.Errorf("the answer to commit %d of %s was lost: %w", c.Seq, s.id, stateful.ErrCommitUnknown)
	s.broken = err
	if before {
		return lost{err: err}
	}
	return lost{s.Store.Submit(ctx, c), err}
}

// lost is a commit whose answer was lost. Unless there is none, it is waited for
// first: it is on its way and will land.
type lost struct {
	landed stateful.Pending
	err    error
}

func (l lost) Wait(ctx context.Context) error {
	if l.landed != nil {
		if err := l.landed.Wait(ctx); err != nil {
			return err
		}
	}
	return l.err
}
