// Package memory keeps state in the process: the fastest backend, and one that is
// empty again when the process ends.
package memory

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/pondage/pondage/internal/lease"
	"github.com/pondage/pondage/stateful"
)

// Backend is a [stateful.Backend] in memory. It keeps the state of its tasks until
// it is closed: a processor made anew on the same Backend goes on where the one
// before stopped.
type Backend struct {
	run    string
	leases lease.Table
	shelf  shelf

	mu     sync.Mutex // guards what follows, not the tasks
	tasks  map[stateful.TaskID]*task
	closed bool
}

var (
	_ stateful.Leaser = (*Backend)(nil)
	_ stateful.Runner = (*Backend)(nil)
)

// New returns an empty backend.
func New() *Backend { return &Backend{run: rand.Text(), tasks: map[stateful.TaskID]*task{}} }

// Run returns what no other Backend is called; see [stateful.Runner].
func (b *Backend) Run() string { return b.run }

// Domain returns [stateful.DomainProcess].
func (b *Backend) Domain() stateful.Domain { return stateful.DomainProcess }

// Open takes ownership of a task; see [stateful.Backend]. The state and the memory
// it holds are shared by all owners of the task, one after the other.
func (b *Backend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	if err := ctx.Err(); err != nil {
		return nil, stateful.Head{}, fmt.Errorf("memory: open task %s: %w", id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, stateful.Head{}, fmt.Errorf("memory: open task %s: %w", id, stateful.ErrClosed)
	}
	t := b.tasks[id]
	if t == nil {
		t = &task{}
		b.tasks[id] = t
	}
	s := &store{task: t, id: id}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head.Epoch++
	t.owner = s
	return s, t.head, nil
}

// Lease takes the lease of a task; see [stateful.Leaser]. It holds among those that use this
// Backend.
func (b *Backend) Lease(ctx context.Context, id stateful.TaskID, now time.Time, ttl time.Duration) (stateful.Lease, error) {
	l, err := b.leases.Lease(ctx, lease.Backend{Open: b.Open, Usable: b.usable}, id, now, ttl)
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	return l, nil
}

func (b *Backend) usable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return stateful.ErrClosed
	}
	return nil
}

// Close closes every store and drops the state. A second Close returns nil.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.shelf.close()
	for _, t := range b.tasks {
		t.mu.Lock()
		t.owner, t.closed, t.entries = nil, true, entries{}
		t.mu.Unlock()
	}
	clear(b.tasks)
	return nil
}

// task is the state of one task and who owns it.
type task struct {
	mu      sync.Mutex
	owner   *store
	closed  bool // the backend was closed
	head    stateful.Head
	entries entries
}
