package pebbledb

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

var errDisk = errors.New("the disk is gone")

// breakable is a file system whose changes of files that match fail once broken.
type breakable struct {
	vfs.FS
	broken atomic.Bool
	failed atomic.Int64 // changes that reached it while broken
}

func newBreakable(match func(errorfs.Op) bool) *breakable {
	b := &breakable{}
	b.FS = errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !b.broken.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !match(op) {
			return nil
		}
		b.failed.Add(1)
		return errDisk
	}))
	return b
}

func anyFile(errorfs.Op) bool { return true }

func open(t *testing.T, fs vfs.FS) *DB {
	t.Helper()
	d, err := Open(Config{Dir: "db", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryWriteSaysThatTheDatabaseIsDead(t *testing.T) {
	fs := newBreakable(anyFile)
	d := open(t, fs)
	fs.broken.Store(true)
	if err := d.Set([]byte("a"), nil, pebble.Sync); !errors.Is(err, errDisk) {
		t.Fatalf("the write that failed says %v", err)
	}
	for name, call := range map[string]func() error{
		"Set":             func() error { return d.Set([]byte("a"), nil, pebble.Sync) },
		"Delete":          func() error { return d.Delete([]byte("a"), pebble.Sync) },
		"DeleteRange":     func() error { return d.DeleteRange([]byte("a"), []byte("b"), pebble.Sync) },
		"Apply":           func() error { return d.Apply(batch(t, d), pebble.Sync) },
		"ApplyNoSyncWait": func() error { return d.ApplyNoSyncWait(batch(t, d), pebble.Sync) },
		"SyncWait":        func() error { return d.SyncWait(batch(t, d)) },
		"Flush":           d.Flush,
		"Err":             d.Err,
		"Close":           d.Close,
		"Close again":     d.Close,
	} {
		if err := call(); !errors.Is(err, errDisk) {
			t.Errorf("%s says %v", name, err)
		}
	}
	if n := fs.failed.Load(); n != 1 {
		t.Errorf("%d changes reached the disk after it failed, want only the first", n)
	}
}

func batch(t *testing.T, d *DB) *pebble.Batch {
	b := d.NewBatch()
	if err := b.Set([]byte("a"), []byte("b"), nil); err != nil {
		t.Fatal(err)
	}
	return b
}

// Without the guard Pebble panics with its mutexes locked, or tries a failed flush
// again for ever.
func TestADiskThatFailsNeitherPanicsNorHangs(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{
		"the log":                        func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") },
		"tables":                         func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") },
		"the directory":                  func(op errorfs.Op) bool { return op.Path == "db" },
		"the manifest":                   func(op errorfs.Op) bool { return strings.Contains(op.Path, "MANIFEST") },
		"everything":                     anyFile,
		"a new log when the old is full": func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".log") },
	} {
		t.Run(name, func(t *testing.T) {
			fs := newBreakable(match)
			d := open(t, fs)
			fs.broken.Store(true)
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for j := 0; d.Err() == nil && j < 20_000; j++ {
						b := d.NewBatch()
						if err := b.Set(fmt.Append(nil, i, j), make([]byte, 2000), nil); err != nil {
							t.Error(err)
						}
						if d.ApplyNoSyncWait(b, pebble.Sync) == nil && d.SyncWait(b) == nil {
							b.Close()
						}
					}
				})
			}
			wg.Wait()
			if err := d.Close(); !errors.Is(err, errDisk) {
				t.Errorf("close says %v", err)
			}
		})
	}
}

func TestWhatPebbleCallsFatalMarksTheDatabaseDead(t *testing.T) {
	d := open(t, vfs.NewMem())
	logger{d}.Fatalf("invariant %d: %w", 7, errDisk)
	if err := d.Err(); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "invariant 7") {
		t.Errorf("it says %v", err)
	}
	d.Fail(errors.New("later"))
	if err := d.Close(); !errors.Is(err, errDisk) {
		t.Errorf("the first reason is not kept: %v", err)
	}
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	d := open(t, vfs.NewMem())
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := d.Set([]byte("a"), nil, pebble.Sync); !errors.Is(err, ErrClosed) {
		t.Errorf("set: %v", err)
	}
}

func TestFormatVersion(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(*pebble.DB) error
		want    string // in the error, empty when there is none
	}{
		{"a new database is made", func(*pebble.DB) error { return nil }, ""},
		{"the version there is accepted", func(d *pebble.DB) error { return d.Set(formatKey, []byte{1}, nil) }, ""},
		{
			"a newer one is refused with the remedy", func(d *pebble.DB) error { return d.Set(formatKey, []byte{2}, nil) },
			"format version 2 is newer than 1, the newest this release knows: run the release that wrote it",
		},
		{"none is refused", func(d *pebble.DB) error { return d.Set(formatKey, nil, nil) }, "damaged or not Pondage's"},
		{
			"somebody else's database is refused", func(d *pebble.DB) error { return d.Set([]byte("x"), nil, nil) },
			"no database of Pondage's",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			p, err := pebble.Open("db", &pebble.Options{FS: fs, Logger: quiet{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tt.prepare(p), p.Close()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				d, err := Open(Config{Dir: "db", FS: fs})
				switch {
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want it to say %q", err, tt.want)
				case tt.want == "" && err != nil:
					t.Error(err)
				}
				if err == nil {
					d.Close()
				}
			}
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func TestSharedIsOneValueForAll(t *testing.T) {
	d := open(t, vfs.NewMem())
	defer d.Close()
	var wg sync.WaitGroup
	values := make([]any, 8)
	for i := range values {
		wg.Go(func() { values[i] = d.Shared("key", func() any { return new(int) }) })
	}
	wg.Wait()
	for _, v := range values {
		if v != values[0] {
			t.Fatal("two values under one key")
		}
	}
	if d.Shared("other", func() any { return new(int) }) == values[0] {
		t.Error("one value under two keys")
	}
}

func TestWithoutSyncsACommitDoesNotWait(t *testing.T) {
	fs := newBreakable(func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData })
	d, err := Open(Config{Dir: "db", FS: fs, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	fs.broken.Store(true)
	b := batch(t, d)
	if err := errors.Join(d.ApplyNoSyncWait(b, d.WriteOptions()), d.SyncWait(b), b.Close()); err != nil {
		t.Error(err)
	}
	if n := fs.failed.Load(); n != 0 {
		t.Errorf("%d syncs", n)
	}
	fs.broken.Store(false)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
