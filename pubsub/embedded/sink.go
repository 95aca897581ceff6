package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

// Sink returns a sink named "embedded" that appends outputs to the log's topics, exactly
// once; to the topics named, or to all that no other sink names. For a task whose state is in the log's own
// database, see [Log.DB], outputs and state are one write (K8). A log needs one sink only.
//
// Closing the sink does not close the log.
func (l *Log) Sink(topics ...string) outbox.Sink { return l.NamedSink("embedded", topics...) }

// NamedSink is [Log.Sink] with a name of its own, for an outbox over several logs.
func (l *Log) NamedSink(name string, topics ...string) outbox.Sink {
	return &sink{l: l, name: name, topics: topics}
}

type sink struct {
	l      *Log
	name   string
	topics []string
	closed atomic.Bool
}

var (
	_ outbox.Joiner    = (*sink)(nil)
	_ outbox.Selective = (*sink)(nil)
)

// Traits implements [outbox.Sink].
func (s *sink) Traits() stateful.SinkTraits {
	t := stateful.SinkTraits{Name: s.name, Cursor: true, FIFO: true, Joins: true, Domain: stateful.DomainProcess}
	if s.l.db.WriteOptions().Sync {
		t.Domain = stateful.DomainMachine
	}
	return t
}

// Topics implements [outbox.Selective].
func (s *sink) Topics() []string { return s.topics }

// Check implements [outbox.Sink].
func (s *sink) Check(row *stateful.Row) error { return s.l.Check(row) }

func (s *sink) usable() error {
	if s.closed.Load() {
		return fmt.Errorf("embedded: sink: %w", stateful.ErrClosed)
	}
	return nil
}

// Recover implements [outbox.Sink].
func (s *sink) Recover(ctx context.Context, p stateful.Producer, _ []stateful.Prepared) (outbox.Cursor, error) {
	if err := errors.Join(s.usable(), ctx.Err()); err != nil {
		return outbox.Cursor{}, err
	}
	epoch, _, err := s.l.Cursor(p)
	if err != nil {
		return outbox.Cursor{}, err
	}
	seq, err := s.l.Fence(ctx, p) // only behind it the sequence stands still
	if err != nil {
		return outbox.Cursor{}, err
	}
	return outbox.Cursor{Epoch: epoch, Seq: seq}, nil
}

// Commit implements [outbox.Sink].
func (s *sink) Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
	if err := s.usable(); err != nil {
		return 0, err
	}
	if err := s.l.AppendRows(ctx, p, rows); err != nil {
		return 0, err
	}
	return len(rows), nil
}

// Database implements [outbox.Joiner].
func (s *sink) Database() any { return s.l.db }

// Join implements [outbox.Joiner].
func (s *sink) Join(p stateful.Producer, rows []stateful.Row) stateful.Joined {
	return s.l.Joined(p, rows)
}

// Close implements [outbox.Sink].
func (s *sink) Close() error {
	s.closed.Store(true)
	return nil
}
