package postgres

import (
	"context"
	"errors"

	"github.com/pondage/pondage/stateful"
)

// errStopped says that the caller has left the scan.
var errStopped = errors.New("stopped")

// A chunk of a scan has few entries at first, for some callers want one, and then as many as fit
// into about chunkBytes.
const (
	firstChunk = 16
	lastChunk  = 4096
	chunkBytes = 512 << 10
)

func (s *store) scan(ctx context.Context, from, to string, yield func(stateful.Entry, error) bool) error {
	if err := s.mayScan(ctx); err != nil || to != "" && from >= to {
		return err
	}
	var chunk []stateful.Entry
	for limit := firstChunk; ; {
		var err error
		if chunk, err = s.scanChunk(ctx, chunk[:0], from, to, limit); err != nil {
			return err
		}
		bytes := 0
		for _, e := range chunk {
			bytes += len(e.Key) + len(e.Value)
			if !yield(e, nil) {
				return errStopped
			}
		}
		if len(chunk) < limit {
			return nil
		}
		from = chunk[len(chunk)-1].Key + "\x00"
		limit = min(4*limit, lastChunk, max(firstChunk, chunkBytes*len(chunk)/max(bytes, 1)))
	}
}

// mayScan waits until the server has every commit submitted.
func (s *store) mayScan(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	last, err := s.line.Readable()
	if err != nil || last == nil {
		return err
	}
	if err := last.Wait(ctx); ctx.Err() != nil {
		return err
	}
	_, err = s.line.Readable()
	return err
}

// scanChunk appends the first entries in [from, to) to chunk.
func (s *store) scanChunk(ctx context.Context, chunk []stateful.Entry, from, to string, limit int) ([]stateful.Entry, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.b.calls.Leave()
	end := param{oid: oidBytea}
	if to != "" {
		end = bytesParam(to)
	}
	var arena []byte
	told := error(nil)
	head := s.readHead(s.line.Acked(), &told)
	err := s.b.guard.Again(ctx, func() error {
		chunk, arena = chunk[:0], nil
		return s.b.run(ctx, call{
			sql: s.b.sql.scan, params: []param{int8Param(s.row), bytesParam(from), end, int8Param(int64(limit))},
			row: func(f *fields) error {
				key := string(f.bytes())
				var v []byte
				v, arena = keep(arena, f.bytes(), limit)
				chunk = append(chunk, stateful.Entry{Key: key, Value: v})
				return nil
			},
		}, head)
	})
	if err != nil {
		return nil, err
	}
	return chunk, told
}
