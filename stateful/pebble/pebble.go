// Package pebble keeps state on the local disk, in a Pebble database that the
// embedded log can share. A commit survives the process and the machine's power,
// not the loss of its disk.
//
// An entry of a task is stored under
//
//	's' app 0x00 handler 0x00 partition(4 bytes, big endian) key
//
// and the task's head under
//
//	's' 0x00 app 0x00 handler 0x00 partition
//
// which no entry can have, because an app's name is not empty. The head is
// version(1) epoch(8) sequence(8) token(8), numbers big endian.
package pebble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/internal/lease"
	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

// Config configures a [Backend]. Dir or DB is required, unless FS is in memory.
type Config struct {
	Dir string
	// DB is a database that is already open. It is not closed with the backend and
	// the other fields are ignored.
	DB *pebbledb.DB
	FS vfs.FS // default: the operating system's
	// NoSync makes commits not wait for the disk: they are then lost with the process.
	NoSync bool
	// CacheBytes is the size of the cache of uncompressed blocks. Default 64 MiB.
	CacheBytes int64
	// MemTableBytes is how much is written before it is moved to a sorted table.
	// Default 64 MiB; up to four times as much is held in memory.
	MemTableBytes int64
}

// Backend is a [stateful.Backend] on a Pebble database.
type Backend struct {
	db   *pebbledb.DB
	own  bool
	gate gate
	// tasks and leases are shared by all backends on one database, so that they fence
	// each other and stand by for each other.
	tasks  *sync.Map    // stateful.TaskID to *task
	leases *lease.Table // as tasks
	once   func() error
}

var _ stateful.Leaser = (*Backend)(nil)

// New opens or creates the database in c.Dir, or uses c.DB. Only one process can
// have a database open.
func New(ctx context.Context, c Config) (*Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pebble: open: %w", err)
	}
	b := &Backend{db: c.DB}
	if b.db == nil {
		if c.Dir == "" && c.FS == nil {
			return nil, errors.New("pebble: Dir is required: the directory of the database, or set DB to one that is open")
		}
		db, err := pebbledb.Open(pebbledb.Config{
			Dir: c.Dir, FS: c.FS, NoSync: c.NoSync, CacheBytes: c.CacheBytes, MemTableBytes: c.MemTableBytes,
		})
		if err != nil {
			return nil, fmt.Errorf("pebble: %w", err)
		}
		b.db, b.own = db, true
	}
	type tasksKey struct{}
	b.tasks = b.db.Shared(tasksKey{}, func() any { return new(sync.Map) }).(*sync.Map)
	type leasesKey struct{}
	b.leases = b.db.Shared(leasesKey{}, func() any { return new(lease.Table) }).(*lease.Table)
	b.once = sync.OnceValue(b.closeOnce)
	return b, nil
}

// DB returns the database, for those that share it. It must not be closed by
// others while the backend is in use.
func (b *Backend) DB() *pebbledb.DB { return b.db }

// Domain returns [stateful.DomainMachine], or [stateful.DomainProcess] when
// commits do not wait for the disk.
func (b *Backend) Domain() stateful.Domain {
	if b.db.WriteOptions().Sync {
		return stateful.DomainMachine
	}
	return stateful.DomainProcess
}

// Open takes ownership of a task; see [stateful.Backend]. When it returns, its
// epoch and everything it found are durable.
func (b *Backend) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := b.open(ctx, id)
	if err != nil {
		return nil, stateful.Head{}, fmt.Errorf("pebble: open task %s: %w", id, err)
	}
	return s, head, nil
}

func (b *Backend) open(ctx context.Context, id stateful.TaskID) (*store, stateful.Head, error) {
	if err := ctx.Err(); err != nil {
		return nil, stateful.Head{}, err
	}
	if err := b.gate.enter(); err != nil {
		return nil, stateful.Head{}, err
	}
	defer b.gate.leave()
	if err := b.db.Err(); err != nil {
		return nil, stateful.Head{}, err
	}
	v, ok := b.tasks.Load(id)
	if !ok {
		t, err := newTask(id)
		if err != nil {
			return nil, stateful.Head{}, err
		}
		v, _ = b.tasks.LoadOrStore(id, t)
	}
	return v.(*task).open(b)
}

// Lease takes the lease of a task; see [stateful.Leaser]. It holds among those that use
// this database, which one process has to itself: nothing is stored.
func (b *Backend) Lease(ctx context.Context, id stateful.TaskID, now time.Time, ttl time.Duration) (stateful.Lease, error) {
	l, err := b.leases.Lease(ctx, lease.Backend{Open: b.Open, Usable: b.usable}, id, now, ttl)
	if err != nil {
		return nil, fmt.Errorf("pebble: %w", err)
	}
	return l, nil
}

func (b *Backend) usable() error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	defer b.gate.leave()
	return b.db.Err()
}

// Close waits for the commits under way, closes every store, and closes the
// database unless it was given. It must not be called from inside a Scan. A second Close returns what the first did.
func (b *Backend) Close() error { return b.once() }

func (b *Backend) closeOnce() error {
	b.gate.close()
	if !b.own {
		return nil
	}
	if err := b.db.Close(); err != nil {
		return fmt.Errorf("pebble: %w", err)
	}
	return nil
}

// gate lets calls in until it is closed, and close waits for those inside. Unlike
// a read-write lock it lets one that is inside enter again.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  sync.Cond
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return stateful.ErrClosed
	}
	g.inside++
	return nil
}

// hold keeps the gate open for one more, by somebody who is inside.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty.L != nil {
		g.empty.Broadcast()
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.empty.L = &g.mu
	for g.inside > 0 {
		g.empty.Wait()
	}
}
