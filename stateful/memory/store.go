package memory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/pondage/pondage/stateful"
)

// store is one ownership of a task.
type store struct {
	task   *task
	id     stateful.TaskID
	failed error // of the first commit that failed
	closed atomic.Bool
}

var _ stateful.Store = (*store)(nil)

// use locks the task. On an error nothing is locked.
func (s *store) use() error {
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	s.task.mu.Lock()
	if s.task.owner == s {
		return nil
	}
	defer s.task.mu.Unlock()
	if s.task.closed {
		return stateful.ErrClosed
	}
	return stateful.ErrFenced
}

func (s *store) wrap(doing string, err error) error {
	return fmt.Errorf("memory: %s task %s: %w", doing, s.id, err)
}

// Get implements [stateful.Store].
func (s *store) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.wrap("get from", err)
	}
	if err := s.use(); err != nil {
		return nil, s.wrap("get from", err)
	}
	defer s.task.mu.Unlock()
	values := make([][]byte, len(keys))
	size := 0
	for i, key := range keys {
		if v, ok := s.task.entries.get(key); ok {
			values[i] = v
			size += len(v)
		}
	}
	// One allocation holds all values; cap keeps an append to one off the next.
	buf := make([]byte, 0, size)
	for i, v := range values {
		if v != nil {
			start := len(buf)
			buf = append(buf, v...)
			values[i] = buf[start:len(buf):len(buf)]
		}
	}
	return values, nil
}

// Scan implements [stateful.Store].
func (s *store) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		// In chunks, so that the lock is never held while the caller's code runs.
		var c chunk
		for limit, next := 16, from; ; limit = min(2*limit, 512) {
			if err := s.fill(ctx, &c, next, to, limit); err != nil {
				yield(stateful.Entry{}, s.wrap("scan", err))
				return
			}
			for i, key := range c.keys {
				if !yield(stateful.Entry{Key: key, Value: c.value(i)}, nil) {
					return
				}
			}
			if len(c.keys) < limit {
				return
			}
			next = c.keys[len(c.keys)-1] + "\x00"
		}
	}
}

func (s *store) fill(ctx context.Context, c *chunk, from, to string, limit int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.use(); err != nil {
		return err
	}
	defer s.task.mu.Unlock()
	c.fill(&s.task.entries, from, to, limit)
	return nil
}

// Submit implements [stateful.Store]. The commit is done when it returns.
func (s *store) Submit(_ context.Context, c stateful.Commit) stateful.Pending {
	if err := s.apply(&c); err != nil {
		err = s.wrap(fmt.Sprintf("commit %d of", c.Seq), err)
		if s.failed == nil {
			s.failed = err
		}
		return failed{err}
	}
	return done{}
}

func (s *store) apply(c *stateful.Commit) error {
	if err := s.use(); err != nil {
		return err
	}
	defer s.task.mu.Unlock()
	if s.failed != nil {
		return fmt.Errorf("an earlier one failed, open the task again: %w", s.failed)
	}
	head := &s.task.head
	if c.Seq != head.Seq+1 {
		return fmt.Errorf("the last commit is %d, so the next must be %d", head.Seq, head.Seq+1)
	}
	if len(c.Joined) > 0 {
		return errors.New("nothing can join a commit in memory")
	}
	for i := range c.Writes {
		if w := &c.Writes[i]; w.Value == nil {
			s.task.entries.delete(w.Key)
		} else {
			s.task.entries.set(w.Key, w.Value)
		}
	}
	head.Seq, head.Token = c.Seq, c.Token
	return nil
}

// Close implements [stateful.Store].
func (s *store) Close() error {
	s.closed.Store(true)
	return nil
}

type done struct{}

func (done) Wait(context.Context) error { return nil }

type failed struct{ err error }

func (f failed) Wait(context.Context) error { return f.err }
