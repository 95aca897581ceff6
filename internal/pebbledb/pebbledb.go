// Package pebbledb opens the one Pebble database of a process, which the state
// backend and the embedded log share, so that both can write in one batch.
//
// Every key begins with a byte that says whose it is, see [SpaceState] and
// [SpaceLog]. The key "\x00format" holds the version of the layout, as one byte.
package pebbledb

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The first byte of every key.
const (
	SpaceState = 's' // stateful/pebble
	SpaceLog   = 'e' // pubsub/embedded
)

// ErrClosed is returned by [DB.Err] and by every write once the database was
// closed.
var ErrClosed = errors.New("pebbledb: closed")

// Config configures a [DB].
type Config struct {
	Dir    string // required, unless FS is in memory
	FS     vfs.FS // default: the operating system's
	NoSync bool   // commits do not wait for the disk, and are lost with the process
	// CacheBytes is the size of the cache of uncompressed blocks. Default 64 MiB.
	CacheBytes int64
	// MemTableBytes is how much is written before it is moved to a sorted table.
	// Default 64 MiB; up to four times as much is held in memory.
	MemTableBytes int64
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	c.CacheBytes = cmp.Or(c.CacheBytes, 64<<20)
	c.MemTableBytes = cmp.Or(c.MemTableBytes, 64<<20)
	return c
}

// DB is an open database. It may be used by several goroutines.
//
// Writes go through the methods of DB and never through those of a batch
// (Commit, SyncWait): only the former tell that the database is dead.
type DB struct {
	*pebble.DB
	guard  *guard
	write  *pebble.WriteOptions
	dead   atomic.Pointer[error]
	died   chan struct{} // closed with the first failure
	shared sync.Map
	close  func() error
}

// Open opens or creates the database in c.Dir. It refuses a database of a newer
// version, and one that is not Pondage's.
func Open(c Config) (*DB, error) {
	c = c.withDefaults()
	d := &DB{write: pebble.Sync, died: make(chan struct{})}
	if c.NoSync {
		d.write = pebble.NoSync
	}
	d.guard = newGuard(c.FS, d)
	p, err := pebble.Open(c.Dir, options(c, d))
	if err == nil {
		d.DB = p
		d.close = sync.OnceValue(d.closeOnce)
		if err = errors.Join(d.Err(), d.checkFormat()); err != nil {
			d.Close() //nolint:errcheck // the first failure is the one to report
		}
	}
	if err != nil {
		return nil, fmt.Errorf("pebbledb: open %q: %w", c.Dir, err)
	}
	d.guard.opened.Store(true)
	return d, nil
}

func options(c Config, d *DB) *pebble.Options {
	o := &pebble.Options{
		FS:                          d.guard,
		Logger:                      logger{d},
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   c.CacheBytes,
		MemTableSize:                uint64(c.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               c.MemTableBytes,
	}
	for i := range o.Levels {
		// Also on the last level: most keys a stream asks for are new.
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// Err returns why the database is dead or closed, nil while it lives. After a
// failed fsync or write of a file nothing is written any more and nothing is
// tried again (T10): the process must be started again.
func (d *DB) Err() error {
	if p := d.dead.Load(); p != nil {
		return *p
	}
	return nil
}

// Fail marks the database dead. The first reason is kept.
func (d *DB) Fail(err error) {
	err = fmt.Errorf("pebbledb: the database is dead until the process is started again: %w", err)
	if d.dead.CompareAndSwap(nil, &err) {
		close(d.died)
	}
}

// WriteOptions returns how commits are written: synced unless Config.NoSync.
func (d *DB) WriteOptions() *pebble.WriteOptions { return d.write }

// Apply applies b, and with o.Sync waits until it is durable. On an error the
// database is dead or closed, and whether b is on disk is only known once it was
// opened again.
func (d *DB) Apply(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := d.Err(); err != nil {
		return err
	}
	return errors.Join(d.DB.Apply(b, o), d.Err())
}

// ApplyNoSyncWait applies b without waiting for the disk. After nil,
// [DB.SyncWait] must be called once before b is closed or reset. After an error b
// must not be used at all, not even closed; the error is that of Apply.
func (d *DB) ApplyNoSyncWait(b *pebble.Batch, o *pebble.WriteOptions) error {
	if err := d.Err(); err != nil {
		return err
	}
	if !o.GetSync() {
		return errors.Join(d.DB.Apply(b, o), d.Err())
	}
	return errors.Join(d.DB.ApplyNoSyncWait(b, o), d.Err())
}

// SyncWait returns once what [DB.ApplyNoSyncWait] applied is durable, at once
// when it was not asked to sync. On an error the database is dead, and b must not be
// closed or reset.
func (d *DB) SyncWait(b *pebble.Batch) error {
	// A dead log may never answer.
	if err := d.Err(); err != nil {
		return err
	}
	// The guard hides a failed sync from Pebble, and marks the database dead
	// before it answers: the mark is what counts.
	return errors.Join(b.SyncWait(), d.Err())
}

// Set is [DB.Apply] of one write.
func (d *DB) Set(key, value []byte, o *pebble.WriteOptions) error {
	if err := d.Err(); err != nil {
		return err
	}
	return errors.Join(d.DB.Set(key, value, o), d.Err())
}

// Delete is [DB.Apply] of one deletion.
func (d *DB) Delete(key []byte, o *pebble.WriteOptions) error {
	if err := d.Err(); err != nil {
		return err
	}
	return errors.Join(d.DB.Delete(key, o), d.Err())
}

// DeleteRange is [DB.Apply] of one deletion of [start, end).
func (d *DB) DeleteRange(start, end []byte, o *pebble.WriteOptions) error {
	if err := d.Err(); err != nil {
		return err
	}
	return errors.Join(d.DB.DeleteRange(start, end, o), d.Err())
}

// Flush moves what is in memory to a sorted table and waits for it.
func (d *DB) Flush() error {
	if err := d.Err(); err != nil {
		return err
	}
	flushed, err := d.AsyncFlush()
	if err != nil {
		return errors.Join(err, d.Err())
	}
	select {
	case <-flushed:
	case <-d.died: // then it may never be
	}
	return d.Err()
}

// Shared returns the value that all users of this database share under key, made
// by create at the first call. Locks that must hold for the whole database, not for one
// of its users, are kept there.
func (d *DB) Shared(key any, create func() any) any {
	if v, ok := d.shared.Load(key); ok {
		return v
	}
	v, _ := d.shared.LoadOrStore(key, create())
	return v
}

// Close closes the database. No other call may be under way; those that write
// return an error from then on. A second Close returns what the first did, and
// a dead database is closed without touching the disk.
func (d *DB) Close() error { return d.close() }

func (d *DB) closeOnce() error {
	close(d.guard.closing)
	err := d.DB.Close()
	if dead := d.Err(); dead != nil {
		return dead
	}
	closed := ErrClosed
	d.dead.CompareAndSwap(nil, &closed)
	if err != nil {
		return fmt.Errorf("pebbledb: close: %w", err)
	}
	return nil
}

// logger keeps Pebble from ending the process: what it calls fatal marks the
// database dead (T10).
type logger struct{ d *DB }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}
func (l logger) Fatalf(format string, args ...any) {
	l.d.Fail(fmt.Errorf(format, args...))
}
