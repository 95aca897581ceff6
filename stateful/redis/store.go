package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/keysort"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// store is one ownership of a task.
type store struct {
	b      *Backend
	id     stateful.TaskID
	keys   keys
	known  *remote.Known
	line   *remote.Line
	closed atomic.Bool

	sent  remote.Head      // of the last commit submitted; the owner's alone
	ranks []keysort.Ranked // of the keys of a commit; the sender's alone
}

var _ stateful.Store = (*store)(nil)

func newStore(b *Backend, id stateful.TaskID, k keys, known *remote.Known, head remote.Head) *store {
	s := &store{b: b, id: id, keys: k, known: known, sent: head}
	s.line = remote.NewLine(remote.LineConfig{
		Head: head, Send: s.send, MaxWrites: sendWrites,
		Wrap:  func(seq uint64, err error) error { return s.wrap(fmt.Sprintf("commit %d of", seq), err) },
		Enter: b.calls.Hold, Leave: b.calls.Leave, // whoever submits is inside, so it cannot be closed
	})
	return s
}

func (s *store) wrap(doing string, err error) error {
	return fmt.Errorf("redis: %s task %s: %w", doing, s.id, err)
}

// enter checks that the store can be used. After nil, leave must be called.
func (s *store) enter() error {
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	return s.b.calls.Enter()
}

// readChunk is how many fields are read with one command: others' commands get their turn in between.
const readChunk = 4096

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
	since := s.line.Acked()
	read := make([]*goredis.SliceCmd, 0, len(keys)/readChunk+1)
	err = s.b.guard.Again(ctx, func() error {
		read = read[:0]
		pipe := s.b.client.Pipeline()
		for from := 0; from == 0 || from < len(keys); from += readChunk {
			chunk := keys[from:min(from+readChunk, len(keys))]
			args := make([]any, 0, 3+len(chunk))
			args = append(args, "hmget", s.keys.hash, headField)
			for i := range chunk {
				args = append(args, fieldArg(&chunk[i]))
			}
			cmd := goredis.NewSliceCmd(ctx, args...)
			_ = pipe.Process(ctx, cmd) // an error comes with Exec
			read = append(read, cmd)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	values := make([][]byte, 0, len(keys))
	for _, cmd := range read {
		found := cmd.Val()
		if _, err := checkHead(since, found[0]); err != nil {
			return nil, err
		}
		values = appendValues(values, found[1:])
	}
	for i, v := range newer {
		values[i] = v
	}
	return values, nil
}

// fieldArg returns the field of a key as an argument that needs no memory for most.
func fieldArg(key *string) any {
	if f := field(*key); len(f) != len(*key) {
		return f
	}
	return key
}

// appendValues copies values, whose missing ones are nil, into one piece of memory.
func appendValues(values [][]byte, found []any) [][]byte {
	size := 0
	for _, v := range found {
		if text, ok := v.(string); ok {
			size += len(text)
		}
	}
	buf := make([]byte, 0, size)
	for _, v := range found {
		text, ok := v.(string)
		if !ok {
			values = append(values, nil)
			continue
		}
		start := len(buf)
		buf = append(buf, text...)
		values = append(values, buf[start:len(buf):len(buf)])
	}
	return values
}

// Scan implements [stateful.Store]. It waits for what was submitted before.
func (s *store) Scan(ctx context.Context, from, to string) iter.Seq2[stateful.Entry, error] {
	return func(yield func(stateful.Entry, error) bool) {
		var err error
		if to != "" && from >= to {
			err = s.mayScan(ctx)
		} else if s.b.c.Index {
			err = s.scanIndex(ctx, from, to, yield)
		} else {
			err = s.scanAll(ctx, from, to, yield)
		}
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
