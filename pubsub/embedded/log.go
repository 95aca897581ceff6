package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/semaphore"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

var (
	// ErrSealed is returned by appends to a topic that was sealed.
	ErrSealed = errors.New("embedded: the topic is sealed")
	// ErrNoTopic is returned for a topic that does not exist.
	ErrNoTopic = errors.New("embedded: no such topic")
	// ErrGone is returned when the topic was deleted or reset meanwhile.
	ErrGone = errors.New("embedded: the topic was deleted or reset")
	// ErrTooLarge is wrapped by appends of a record beyond the limits. It is permanent.
	ErrTooLarge = errors.New("embedded: the record is too large")
)

// Log is a set of topics on one database. It may be used by several goroutines.
// It is a stateful.Source and a stateful.CommitListener.
type Log struct {
	c     Config
	db    *pebbledb.DB
	owned bool
	inUse *atomic.Bool // one Log per database: two would give out the same offsets

	ctx    context.Context // ends when the log closes
	cancel context.CancelFunc
	work   sync.WaitGroup // background goroutine and subscriptions

	// Close waits for calls that entered. It is no lock: calls may enter again while
	// they hold locks and Close waits.
	gate   sync.Mutex
	closed bool // guarded by gate
	calls  sync.WaitGroup
	once   sync.Once
	err    error // of Close

	pending *semaphore.Weighted

	mu        sync.RWMutex
	topics    map[string]*topic
	admin     sync.Mutex // serialises creating, sealing and deleting topics
	cursorsMu sync.Mutex
	cursors   map[string]*cursor

	attachedMu sync.Mutex
	attached   map[string]struct{} // topics that were inputs of Attach

	dirty commitQueue
	plain Subscriber // behind Log.Subscribe
}

type inUseKey struct{}

// Open opens or creates the log that c describes. A database has one Log at a time.
func Open(c Config) (*Log, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	l := &Log{
		c: c, db: c.DB,
		topics:   make(map[string]*topic),
		cursors:  make(map[string]*cursor),
		attached: make(map[string]struct{}),
		pending:  semaphore.NewWeighted(c.MaxPendingBytes),
	}
	if l.db == nil {
		db, err := pebbledb.Open(pebbledb.Config{Dir: c.Dir, FS: c.FS, NoSync: c.NoSync})
		if err != nil {
			return nil, fmt.Errorf("embedded: %w", err)
		}
		l.db, l.owned = db, true
	}
	l.inUse = l.db.Shared(inUseKey{}, func() any { return new(atomic.Bool) }).(*atomic.Bool)
	if !l.inUse.CompareAndSwap(false, true) {
		return nil, errors.New("embedded: the database already has an open log: share that one")
	}
	if err := l.load(); err != nil {
		l.inUse.Store(false)
		if l.owned {
			err = errors.Join(err, l.db.Close())
		}
		return nil, fmt.Errorf("embedded: open: %w", err)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.dirty.kick = make(chan struct{}, 1)
	l.plain.l, l.plain.group = l, DefaultGroup
	l.work.Go(l.background)
	return l, nil
}

// OpenMemory opens a new log in memory, for tests and for state that lives in
// memory too. Dir, DB, FS and NoSync of c are not looked at.
func OpenMemory(c Config) (*Log, error) {
	c.Dir, c.DB, c.FS, c.NoSync = "log", nil, vfs.NewMem(), true
	return Open(c)
}

// DB returns the database, to find out whether a store can carry appends in its
// commits: see stateful.Joiner.
func (l *Log) DB() *pebbledb.DB { return l.db }

// Close ends all subscriptions, waits for appends under way, stores what groups have
// committed and closes the database unless it was given. Calls after Close return
// an error that wraps stateful.ErrClosed; a second Close returns what the first did.
func (l *Log) Close() error {
	l.once.Do(func() {
		l.cancel()
		l.gate.Lock()
		l.closed = true
		l.gate.Unlock()
		l.work.Wait()
		l.calls.Wait()
		l.err = l.flushCommitted(l.db.WriteOptions())
		l.inUse.Store(false)
		if l.owned {
			l.err = errors.Join(l.err, l.db.Close())
		}
		if l.err != nil {
			l.err = fmt.Errorf("embedded: close: %w", l.err)
		}
	})
	return l.err
}

// enter says that the database is in use; leave must follow.
func (l *Log) enter() error {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.closed {
		return fmt.Errorf("embedded: %w", stateful.ErrClosed)
	}
	if err := l.db.Err(); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	l.calls.Add(1)
	return nil
}

func (l *Log) leave() { l.calls.Done() }

// fail marks the database dead and ends all subscriptions.
func (l *Log) fail(err error) {
	l.db.Fail(err)
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, t := range l.topics {
		for _, p := range t.parts {
			p.wake()
		}
	}
}

func (l *Log) millis() int64 { return l.c.Now().UnixMilli() }
