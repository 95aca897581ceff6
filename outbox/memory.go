package outbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pondage/pondage/stateful"
)

// Memory is a sink that keeps rows in the process, exactly once, for tests and for
// reading them back. It may be used by several goroutines.
type Memory struct {
	topics []string
	kept   *kept

	mu     sync.Mutex
	closed bool
}

// kept is what outlives a Close.
type kept struct {
	mu      sync.Mutex
	rows    []stateful.Row
	cursors map[stateful.TaskID]memoryCursor
}

type memoryCursor struct{ incarnation, epoch, seq uint64 }

// NewMemory returns an empty sink for topics, or for all that no other sink names.
func NewMemory(topics ...string) *Memory {
	return &Memory{topics: topics, kept: &kept{cursors: make(map[stateful.TaskID]memoryCursor)}}
}

// Reopen returns an open sink with the same content, as after a restart of a real one.
func (m *Memory) Reopen() *Memory { return &Memory{topics: m.topics, kept: m.kept} }

// Rows returns copies of the published rows of topics, of all when none is named, in the order
// in which they were published. It also works after Close.
func (m *Memory) Rows(topics ...string) []stateful.Row {
	m.kept.mu.Lock()
	defer m.kept.mu.Unlock()
	var rows []stateful.Row
	for i := range m.kept.rows {
		if r := &m.kept.rows[i]; len(topics) == 0 || slices.Contains(topics, r.Topic) {
			rows = append(rows, cloneRow(r))
		}
	}
	return rows
}

func cloneRow(r *stateful.Row) stateful.Row {
	c := *r
	c.Key, c.Payload, c.Headers = slices.Clone(r.Key), slices.Clone(r.Payload), slices.Clone(r.Headers)
	return c
}

// Traits implements [Sink].
func (m *Memory) Traits() stateful.SinkTraits {
	return stateful.SinkTraits{Name: strings.Join(append([]string{"memory"}, m.topics...), ":"), Cursor: true, FIFO: true, Domain: stateful.DomainProcess}
}

// Topics implements [Selective].
func (m *Memory) Topics() []string { return m.topics }

// Check implements [Sink]. It takes every row.
func (m *Memory) Check(*stateful.Row) error { return nil }

// enter locks what is kept and returns the cursor of p, refusing a stale producer.
// After nil, m.kept.mu must be unlocked.
func (m *Memory) enter(ctx context.Context, p stateful.Producer) (memoryCursor, error) {
	if err := ctx.Err(); err != nil {
		return memoryCursor{}, err
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return memoryCursor{}, fmt.Errorf("outbox: memory sink: %w", stateful.ErrClosed)
	}
	m.kept.mu.Lock()
	c := m.kept.cursors[taskOf(p)]
	if p.Incarnation < c.incarnation || p.Incarnation == c.incarnation && p.Epoch < c.epoch {
		m.kept.mu.Unlock()
		return c, fmt.Errorf("outbox: memory sink: producer has incarnation %d and epoch %d, the sink has seen %d and %d: %w",
			p.Incarnation, p.Epoch, c.incarnation, c.epoch, stateful.ErrFenced)
	}
	if p.Incarnation > c.incarnation {
		c = memoryCursor{incarnation: p.Incarnation}
	}
	return c, nil
}

func taskOf(p stateful.Producer) stateful.TaskID {
	return stateful.TaskID{App: p.App, Handler: p.Handler, Partition: p.Partition}
}

// Recover implements [Sink].
func (m *Memory) Recover(ctx context.Context, p stateful.Producer, _ []stateful.Prepared) (Cursor, error) {
	c, err := m.enter(ctx, p)
	if err != nil {
		return Cursor{}, err
	}
	defer m.kept.mu.Unlock()
	found := Cursor{Epoch: c.epoch, Seq: c.seq}
	c.epoch = p.Epoch
	m.kept.cursors[taskOf(p)] = c
	return found, nil
}

// Commit implements [Sink].
func (m *Memory) Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
	c, err := m.enter(ctx, p)
	if err != nil {
		return 0, err
	}
	defer m.kept.mu.Unlock()
	for i := range rows {
		if r := &rows[i]; r.Seq > c.seq {
			m.kept.rows = append(m.kept.rows, cloneRow(r))
			c.seq = r.Seq
		}
	}
	c.epoch = p.Epoch
	m.kept.cursors[taskOf(p)] = c
	return len(rows), nil
}

// Close implements [Sink]. The rows can still be read.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
