package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// store is one ownership of a task.
type store struct {
	b      *Backend
	id     stateful.TaskID
	row    int64 // of the task
	known  *remote.Known
	line   *remote.Line
	closed atomic.Bool

	sent remote.Head // of the last commit submitted; the owner's alone
	keys array       // of a Get; the owner's alone

	// The sending goroutine's alone.
	writes             []stateful.Write
	ranks              []keysort.Ranked
	gone, put, putting array
}

var (
	_ stateful.Store  = (*store)(nil)
	_ stateful.Joiner = (*store)(nil)
)

func newStore(b *Backend, id stateful.TaskID, row int64, known *remote.Known, head remote.Head) *store {
	s := &store{b: b, id: id, row: row, known: known, sent: head}
	s.line = remote.NewLine(remote.LineConfig{
		Head: head, Send: s.send,
		Wrap:  func(seq uint64, err error) error { return s.wrap(fmt.Sprintf("commit %d of", seq), err) },
		Enter: b.calls.Hold, Leave: b.calls.Leave, // whoever submits is inside, so it cannot be closed
	})
	s.line.OnSettled(func(p *remote.Pending, err error) { tell(p.Joined, err) })
	return s
}

func (s *store) wrap(doing string, err error) error { return s.b.wrap(doing, s.id, err) }

// enter checks that the store can be used. After nil, leave must be called.
func (s *store) enter() error {
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	return s.b.calls.Enter()
}

// readHead is the statement that checks, behind a read, whether all it read is this owner's: at least what
// had landed before the read began.
func (s *store) readHead(since remote.Head, told *error) call {
	*told = since.Check(remote.Head{}) // when there is no row
	return call{sql: s.b.sql.head, params: []param{int8Param(s.row)}, row: func(f *fields) error {
		*told = since.Check(f.head())
		return nil
	}}
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
	defer s.b.calls.Leave()
	newer, err := s.line.UnderWay(keys)
	if err != nil {
		return nil, err
	}
	s.keys.reset()
	for _, key := range keys {
		s.keys.append(key)
	}
	values := make([][]byte, len(keys))
	var arena []byte
	since, told := s.line.Acked(), error(nil)
	get := call{sql: s.b.sql.get, params: []param{int8Param(s.row), s.keys.param()}, row: func(f *fields) error {
		at, v := f.int8()-1, f.bytes()
		if at < 0 || at >= int64(len(values)) {
			return fmt.Errorf("the server answers for key %d of %d", at+1, len(values))
		}
		values[at], arena = keep(arena, v, len(keys))
		return nil
	}}
	head := s.readHead(since, &told)
	if err := s.b.again(ctx, get, head); err != nil {
		return nil, err
	}
	if told != nil {
		return nil, told
	}
	for i, v := range newer {
		values[i] = v
	}
	return values, nil
}

// keep copies v into memory that n values share, and returns the copy and that memory.
func keep(arena, v []byte, n int) ([]byte, []byte) {
	if cap(arena)-len(arena) < len(v) || arena == nil {
		arena = make([]byte, 0, max(len(v), min(32*n, 64<<10), 1)) // what was copied before stays where it is
	}
	start := len(arena)
	arena = append(arena, v...)
	return arena[start:len(arena):len(arena)], arena
}

// Scan implements [stateful.Store]. It waits for what was submitted before.
func (s *store) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		err := s.scan(ctx, from, to, yield)
		if err != nil && !errors.Is(err, errStopped) {
			yield(stateful.Entry{}, s.wrap("scan", err))
		}
	}
}

// Close implements [stateful.Store].
func (s *store) Close() error {
	s.closed.Store(true)
	return nil
}
