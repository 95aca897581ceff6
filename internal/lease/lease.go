// Package lease gives out leases of tasks within one process, for backends that
// no other process can share.
package lease

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Table has the leases of a backend. The zero Table is empty. It may be used by
// several goroutines.
type Table struct {
	mu    sync.Mutex
	seats map[stateful.TaskID]*seat
}

// Backend is what a [Table] needs of the backend whose leases it gives out. Both functions are
// required.
type Backend struct {
	// Open is that of the backend.
	Open func(ctx context.Context, task stateful.TaskID) (stateful.Store, stateful.Head, error)
	// Usable returns why the backend can no longer be used, as once it was closed.
	Usable func() error
}

// Lease is [stateful.Leaser.Lease] for b.
func (t *Table) Lease(ctx context.Context, b Backend, task stateful.TaskID, now time.Time, ttl time.Duration) (stateful.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := b.Usable(); err != nil {
		return nil, err
	}
	s := t.seat(task)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held && now.Before(s.until) {
		return nil, fmt.Errorf("lease %d of task %s: %w", s.token, task, stateful.ErrLeaseHeld)
	}
	s.token++
	s.held, s.until = true, now.Add(ttl)
	return &lease{b: b, seat: s, task: task, token: s.token, ttl: ttl}, nil
}

func (t *Table) seat(task stateful.TaskID) *seat {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seats == nil {
		t.seats = make(map[stateful.TaskID]*seat)
	}
	s := t.seats[task]
	if s == nil {
		s = &seat{}
		t.seats[task] = s
	}
	return s
}

// seat is what the leases of one task share.
type seat struct {
	mu    sync.Mutex
	token uint64 // of the last lease
	held  bool   // it was not released
	until time.Time
}

type lease struct {
	b     Backend
	seat  *seat
	task  stateful.TaskID
	token uint64
	ttl   time.Duration
}

// Token implements [stateful.Lease].
func (l *lease) Token() uint64 { return l.token }

// Open implements [stateful.Lease].
func (l *lease) Open(ctx context.Context) (stateful.Store, stateful.Head, error) {
	l.seat.mu.Lock()
	defer l.seat.mu.Unlock() // nobody else gets the lease before the epoch is raised
	if l.seat.token != l.token {
		return nil, stateful.Head{}, fmt.Errorf("open task %s under lease %d, the last one is %d: %w", l.task, l.token, l.seat.token, stateful.ErrFenced)
	}
	return l.b.Open(ctx, l.task)
}

// Renew implements [stateful.Lease].
func (l *lease) Renew(ctx context.Context, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.b.Usable(); err != nil {
		return err
	}
	l.seat.mu.Lock()
	defer l.seat.mu.Unlock()
	if l.seat.token != l.token || !l.seat.held || !now.Before(l.seat.until) {
		return fmt.Errorf("renew lease %d of task %s: %w", l.token, l.task, stateful.ErrLeaseLost)
	}
	l.seat.until = now.Add(l.ttl)
	return nil
}

// Release implements [stateful.Lease].
func (l *lease) Release(context.Context) error {
	l.seat.mu.Lock()
	defer l.seat.mu.Unlock()
	if l.seat.token == l.token {
		l.seat.held = false
	}
	return nil
}
