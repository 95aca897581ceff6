package pebbledb

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system of a [DB]. The first change of a file that fails marks
// the database dead, before Pebble hears of it, and from then on no change
// reaches the disk: a failed fsync may have dropped the pages it was for, and one
// more that "succeeds" would prove nothing (T10).
//
// Pebble answers a failure of its log, of its manifest or of the directory by a
// panic: at the next rotation of the log, with its mutexes unusable, or in a
// goroutine of its own. So there the guard answers nil; whoever waits for a
// commit asks [DB.Err] after the sync.
type guard struct {
	vfs.FS
	db      *DB
	opened  atomic.Bool
	closing chan struct{}
}

func newGuard(fs vfs.FS, db *DB) *guard {
	return &guard{FS: fs, db: db, closing: make(chan struct{})}
}

// vital reports whether Pebble would panic when it heard that a change of the file
// failed.
func vital(name string) bool {
	name = filepath.Base(name)
	return filepath.Ext(name) == ".log" || strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.")
}

// change does op unless the database is dead. With hide set Pebble is told
// nothing of a failure.
func (g *guard) change(hide bool, op func() error) error {
	err := g.db.Err()
	if err == nil {
		if err = op(); err == nil {
			return nil
		}
		g.db.Fail(err)
	}
	if hide {
		return nil
	}
	return err
}

// create makes a file with op.
func (g *guard) create(name string, op func() (vfs.File, error)) (vfs.File, error) {
	hide := vital(name)
	var f vfs.File
	err := g.change(false, func() (err error) {
		f, err = op()
		return err
	})
	switch {
	case err == nil:
		return &guardedFile{f, g, hide}, nil
	case hide:
		return &guardedFile{vfs.NewMemFile(nil), g, true}, nil
	case g.opened.Load():
		// Pebble tries a failed flush again at once, for ever.
		<-g.closing
	}
	return nil, err
}

func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.create(name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{f, g, true}, nil
}

func (g *guard) Link(old, name string) error {
	return g.change(false, func() error { return g.FS.Link(old, name) })
}

func (g *guard) Rename(old, name string) error {
	return g.change(false, func() error { return g.FS.Rename(old, name) })
}

func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.change(false, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Remove is harmless when it fails, but must not happen once the database is
// dead: what replaces the file may not be there.
func (g *guard) Remove(name string) error {
	if g.db.Err() != nil {
		return nil //nolint:nilerr // nothing is removed, and Pebble hears of the death elsewhere
	}
	return g.FS.Remove(name)
}

func (g *guard) RemoveAll(name string) error {
	if g.db.Err() != nil {
		return nil //nolint:nilerr // nothing is removed, and Pebble hears of the death elsewhere
	}
	return g.FS.RemoveAll(name)
}

func (g *guard) Unwrap() vfs.FS { return g.FS }

type guardedFile struct {
	vfs.File
	g    *guard
	hide bool
}

func (f *guardedFile) Write(p []byte) (n int, err error) {
	n = len(p)
	err = f.g.change(f.hide, func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardedFile) WriteAt(p []byte, off int64) (n int, err error) {
	n = len(p)
	err = f.g.change(f.hide, func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardedFile) Sync() error     { return f.g.change(f.hide, f.File.Sync) }
func (f *guardedFile) SyncData() error { return f.g.change(f.hide, f.File.SyncData) }

func (f *guardedFile) SyncTo(length int64) (full bool, err error) {
	err = f.g.change(f.hide, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *guardedFile) Preallocate(offset, length int64) error {
	if err := f.g.db.Err(); err != nil {
		return err
	}
	return f.File.Preallocate(offset, length)
}
