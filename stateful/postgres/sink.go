package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

// SinkConfig configures a [Backend.Sink].
type SinkConfig struct {
	// Name tells it from other sinks and is stored. Default "postgres".
	Name string
	// Tables are where the outputs of each topic go. Required.
	Tables map[string]Table
}

// Sink returns a sink into tables of the backend's database, exactly once. For a task whose state is in the same
// Backend, rows, cursor and state are one transaction: there is no outbox and nothing to relay. For any other the sink is
// given outputs by the relay, like others. Closing it does not close the backend.
func (b *Backend) Sink(c SinkConfig) (outbox.Sink, error) {
	if c.Name == "" {
		c.Name = "postgres"
	}
	s := &sink{b: b, name: c.Name, tables: make(map[string]*table)}
	var errs []error
	if len(c.Tables) == 0 {
		errs = append(errs, errors.New("Tables are required"))
	}
	if _, err := asText(c.Name); err != nil || len(c.Name) > 500 {
		errs = append(errs, fmt.Errorf("Name %q must be UTF-8 of at most 500 bytes without zero bytes", c.Name))
	}
	for topic, t := range c.Tables {
		checked, err := newTable(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("table of topic %q: %w", topic, err))
		}
		s.tables[topic] = checked
		s.topics = append(s.topics, topic)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("postgres: sink: %w", err)
	}
	slices.Sort(s.topics)
	return s, nil
}

type sink struct {
	b      *Backend
	name   string
	tables map[string]*table
	topics []string
	closed atomic.Bool
}

var (
	_ outbox.Joiner    = (*sink)(nil)
	_ outbox.Selective = (*sink)(nil)
)

// Traits implements [outbox.Sink].
func (s *sink) Traits() stateful.SinkTraits {
	return stateful.SinkTraits{Name: s.name, Cursor: true, FIFO: true, Joins: true, Domain: stateful.DomainServer}
}

// Topics implements [outbox.Selective].
func (s *sink) Topics() []string { return s.topics }

// Check implements [outbox.Sink].
func (s *sink) Check(row *stateful.Row) error {
	t := s.tables[row.Topic]
	if t == nil {
		return fmt.Errorf("postgres: no table takes topic %q", row.Topic)
	}
	if _, err := t.texts(row); err != nil {
		return fmt.Errorf("postgres: table %s: %w", t.Name, err)
	}
	return nil
}

// enter checks that the sink can be used. After nil, b.calls.Leave must be called.
func (s *sink) enter() error {
	if s.closed.Load() {
		return stateful.ErrClosed
	}
	return s.b.calls.Enter()
}

func (s *sink) wrap(p stateful.Producer, err error) error {
	return fmt.Errorf("postgres: sink %q of task %s/%s/%d: %w", s.name, p.App, p.Handler, p.Partition, err)
}

// producer returns the parameters that name a cursor and its producer.
func (s *sink) producer(p stateful.Producer) []param {
	return []param{
		textParam(s.name), textParam(p.App), textParam(p.Handler), int4Param(p.Partition), int8Param(int64(p.Incarnation)), int8Param(int64(p.Epoch)),
	}
}

// Recover implements [outbox.Sink].
func (s *sink) Recover(ctx context.Context, p stateful.Producer, _ []stateful.Prepared) (outbox.Cursor, error) {
	cur, err := s.recover(ctx, p)
	if err != nil {
		return outbox.Cursor{}, s.wrap(p, err)
	}
	return cur, nil
}

func (s *sink) recover(ctx context.Context, p stateful.Producer) (cur outbox.Cursor, err error) {
	if err := ctx.Err(); err != nil {
		return cur, err
	}
	if err := s.enter(); err != nil {
		return cur, err
	}
	defer s.b.calls.Leave()
	return s.fence(ctx, p)
}

func (s *sink) fence(ctx context.Context, p stateful.Producer) (cur outbox.Cursor, err error) {
	found := false
	err = s.b.again(ctx, call{sql: s.b.sql.cursorFence, params: s.producer(p), row: func(f *fields) error {
		found = true
		cur.Seq, cur.Epoch = uint64(f.int8()), uint64(f.int8())
		return nil
	}})
	if err == nil && !found {
		err = fmt.Errorf("a newer producer than (%d, %d) has its cursor: %w", p.Incarnation, p.Epoch, stateful.ErrFenced)
	}
	cur.Epoch = min(cur.Epoch, p.Epoch)
	return cur, err
}

// Commit implements [outbox.Sink].
func (s *sink) Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
	if err := s.commit(ctx, p, rows); err != nil {
		return 0, s.wrap(p, err)
	}
	return len(rows), nil
}

func (s *sink) commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.b.calls.Leave()
	for {
		cur, err := s.fence(ctx, p)
		if err != nil {
			return err
		}
		n := 0
		for n < len(rows) && rows[n].Seq <= cur.Seq {
			n++
		}
		if rows = rows[n:]; len(rows) == 0 {
			return nil
		}
		calls, err := s.write(p, rows, int8Param(int64(cur.Seq)))
		if err != nil {
			return stateful.Permanent(err)
		}
		moved := false
		calls[0].row = func(*fields) error { moved = true; return nil }
		err = s.b.once(ctx, calls...)
		switch {
		case err == nil:
			return nil
		case !moved && hasCode(err, codeDivision):
			continue // an earlier try of ours arrived late, or somebody newer: the cursor tells
		case hasCode(err, codeData, codeConstraint):
			return stateful.Permanent(fmt.Errorf("the table refuses it: %w", err))
		}
		return err
	}
}

// write returns the statements that move the cursor from above, or null for wherever below it is, and write rows.
func (s *sink) write(p stateful.Producer, rows []stateful.Row, above param) ([]call, error) {
	producer := s.producer(p)
	last := int8Param(int64(rows[len(rows)-1].Seq))
	calls := []call{{sql: s.b.sql.cursorMove, params: append(producer, last, above)}}
	byTopic := make(map[string][]stateful.Row)
	var topics []string
	for i := range rows {
		topic := rows[i].Topic
		if byTopic[topic] == nil {
			topics = append(topics, topic)
		}
		byTopic[topic] = append(byTopic[topic], rows[i])
	}
	slices.Sort(topics) // tasks lock tables in one order
	for _, topic := range topics {
		t := s.tables[topic]
		if t == nil {
			return nil, fmt.Errorf("no table takes topic %q", topic)
		}
		insert, err := t.insert(byTopic[topic])
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		calls = append(calls, insert)
	}
	return calls, nil
}

// Database implements [outbox.Joiner].
func (s *sink) Database() any { return s.b }

// Join implements [outbox.Joiner].
func (s *sink) Join(p stateful.Producer, rows []stateful.Row) stateful.Joined {
	return &joinedRows{s: s, p: p, rows: rows}
}

// Close implements [outbox.Sink].
func (s *sink) Close() error {
	s.closed.Store(true)
	return nil
}
