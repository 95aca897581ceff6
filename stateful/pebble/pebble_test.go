package pebble_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/statefultest"
)

var ctx = context.Background()

// crashable is a backend whose disk can lose what was not synced.
type crashable struct {
	*pebble.Backend
	fs  *vfs.MemFS
	rng *rand.Rand
}

func openCrashable(t statefultest.TB, fs *vfs.MemFS, rng *rand.Rand) *crashable {
	t.Helper()
	b, err := pebble.New(ctx, pebble.Config{Dir: "db", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &crashable{b, fs, rng}
}

func (b *crashable) Reopen(t statefultest.TB) stateful.Backend {
	t.Helper()
	survived := b.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: b.rng.IntN(101), RNG: b.rng})
	b.Close()
	return openCrashable(t, survived, b.rng)
}

func TestBackend(t *testing.T) {
	statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
		return openCrashable(t, vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 2)))
	})
}

func TestLeases(t *testing.T) {
	statefultest.TestLeases(t, func(t *testing.T) stateful.Leaser {
		return openCrashable(t, vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 2)))
	}, nil)
}

func TestPeeker(t *testing.T) {
	statefultest.TestPeeker(t, func(t *testing.T) stateful.Backend {
		return openCrashable(t, vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 2)))
	})
}

func TestBackendsOnOneDatabaseShareLeases(t *testing.T) {
	db, err := pebbledb.Open(pebbledb.Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	id, now := stateful.TaskID{App: "app", Handler: "h"}, time.UnixMilli(0)
	for i, want := range []error{nil, stateful.ErrLeaseHeld} {
		b, err := pebble.New(ctx, pebble.Config{DB: db})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Lease(ctx, id, now, time.Second); !errors.Is(err, want) {
			t.Errorf("backend %d got %v, want %v", i+1, err, want)
		}
	}
}

func TestBackendWithoutSyncs(t *testing.T) {
	statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
		b, err := pebble.New(ctx, pebble.Config{Dir: "db", FS: vfs.NewMem(), NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		if b.Domain() != stateful.DomainProcess {
			t.Errorf("without syncs the domain is %s, want %s", b.Domain(), stateful.DomainProcess)
		}
		return b
	})
}

func TestStateOnTheDiskIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	for seq := uint64(1); seq < 4; seq++ {
		b, err := pebble.New(ctx, pebble.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pebble.New(ctx, pebble.Config{Dir: dir}); err == nil {
			t.Error("a second one opened the same directory")
		}
		s, head := mustOpen(t, b)
		if head != (stateful.Head{Epoch: seq, Seq: seq - 1, Token: seq - 1}) {
			t.Errorf("the head is %+v, want sequence %d", head, seq-1)
		}
		mustCommit(t, s, seq, stateful.Write{Key: "n", Value: []byte{byte(seq)}})
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewRefusesWithoutADirectory(t *testing.T) {
	if _, err := pebble.New(ctx, pebble.Config{}); err == nil || !strings.Contains(err.Error(), "Dir is required") {
		t.Errorf("got %v", err)
	}
}

func TestADatabaseThatWasGivenIsNotClosed(t *testing.T) {
	db, err := pebbledb.Open(pebbledb.Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := pebble.New(ctx, pebble.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	if b.DB() != db {
		t.Error("DB returns another database")
	}
	if b.Domain() != stateful.DomainMachine {
		t.Errorf("the domain is %s", b.Domain())
	}
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("e"), nil, db.WriteOptions()); err != nil {
		t.Errorf("the database was closed: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestBackendsOnOneDatabaseFenceEachOther(t *testing.T) {
	a, err := pebble.New(ctx, pebble.Config{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := pebble.New(ctx, pebble.Config{DB: a.DB()})
	if err != nil {
		t.Fatal(err)
	}
	old, _ := mustOpen(t, a)
	mustCommit(t, old, 1)
	s, head := mustOpen(t, b)
	if head.Seq != 1 {
		t.Errorf("the head is %+v", head)
	}
	if err := old.Submit(ctx, stateful.Commit{Seq: 2}).Wait(ctx); !strings.Contains(err.Error(), "fenced") {
		t.Errorf("the old owner: %v", err)
	}
	mustCommit(t, s, 2)
}

func TestNamesThatWouldMixTasksAreRefused(t *testing.T) {
	b := openCrashable(t, vfs.NewCrashableMem(), nil)
	defer b.Close()
	for _, id := range []stateful.TaskID{{Handler: "h"}, {App: "a"}, {App: "a\x00", Handler: "h"}, {App: "a", Handler: "\x00h"}} {
		if _, _, err := b.Open(ctx, id); err == nil {
			t.Errorf("%q was opened", id)
		}
	}
}

func TestHeadsOfOtherVersionsAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, head, want string }{
		{"a newer one names the remedy", "\x02" + strings.Repeat("x", 40), "newer than 1"},
		{"a short one is damaged", "\x01abc", "damaged"},
		{"an empty one is damaged", "", "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := openCrashable(t, vfs.NewCrashableMem(), nil)
			defer b.Close()
			key := []byte("s\x00app\x00h\x00\x00\x00\x00\x07")
			if err := b.DB().Set(key, []byte(tt.head), b.DB().WriteOptions()); err != nil {
				t.Fatal(err)
			}
			_, _, err := b.Open(ctx, task)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
		})
	}
}

var task = stateful.TaskID{App: "app", Handler: "h", Partition: 7}

func mustOpen(t *testing.T, b stateful.Backend) (stateful.Store, stateful.Head) {
	t.Helper()
	s, head, err := b.Open(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	return s, head
}

func mustCommit(t *testing.T, s stateful.Store, seq uint64, writes ...stateful.Write) {
	t.Helper()
	if err := s.Submit(ctx, stateful.Commit{Seq: seq, Token: seq, Writes: writes}).Wait(ctx); err != nil {
		t.Fatal(err)
	}
}
