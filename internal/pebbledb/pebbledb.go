// Package pebbledb opens the one Pebble database of a process, which the state
// backend and the embedded log share, so that both can write in one batch.
//
// Every key begins with a byte that says whose it is, see [SpaceState] and [SpaceLog].
package pebbledb

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The first byte of every key.
const (
	SpaceState = 's' // stateful/pebble
	SpaceLog   = 'e' // pubsub/embedded
)

// Config configures a [DB].
type Config struct {
	Dir    string // required, unless FS is in memory
	FS     vfs.FS // default: the operating system's
	NoSync bool   // commits do not wait for the disk
}

// DB is an open database. It may be used by several goroutines.
type DB struct {
	*pebble.DB
	dead atomic.Pointer[error]
	sync *pebble.WriteOptions
}

// Open opens or creates the database in c.Dir.
func Open(c Config) (*DB, error) {
	d := &DB{sync: pebble.Sync}
	if c.NoSync {
		d.sync = pebble.NoSync
	}
	p, err := pebble.Open(c.Dir, &pebble.Options{
		FS:                 c.FS,
		Logger:             logger{d},
		FormatMajorVersion: pebble.FormatNewest,
	})
	if err != nil {
		return nil, fmt.Errorf("pebbledb: open %q: %w", c.Dir, err)
	}
	d.DB = p
	return d, nil
}

// Err returns why the database is dead, nil while it lives. After a failed
// fsync nothing may be written any more and the fsync is never tried again
// (T10): the process must be started again.
func (d *DB) Err() error {
	if p := d.dead.Load(); p != nil {
		return *p
	}
	return nil
}

// Fail marks the database dead.
func (d *DB) Fail(err error) {
	err = fmt.Errorf("pebbledb: the database is dead until the process is started again: %w", err)
	d.dead.CompareAndSwap(nil, &err)
}

// WriteOptions returns how commits are written: synced unless Config.NoSync.
func (d *DB) WriteOptions() *pebble.WriteOptions { return d.sync }

// logger keeps Pebble from ending the process: what it calls fatal marks the
// database dead.
type logger struct{ d *DB }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}
func (l logger) Fatalf(format string, args ...any) {
	l.d.Fail(errors.New(fmt.Sprintf(format, args...)))
}
