package pebble_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
)

// The scripted workload: two tasks, commits three deep, memory moved to tables,
// owners changed in between.
const (
	faultTasks   = 2
	faultCommits = 36
	faultDepth   = 3
)

func faultTask(i int) stateful.TaskID {
	return stateful.TaskID{App: "app", Handler: "h", Partition: int32(i)}
}

// faultWrites are the writes of commit seq; each overwrites, adds and deletes.
func faultWrites(seq uint64) []stateful.Write {
	return []stateful.Write{
		{Key: "last", Value: fmt.Append(nil, seq)},
		{Key: fmt.Sprint("slot", seq%5), Value: make([]byte, 200+seq)},
		{Key: fmt.Sprint("once", seq), Value: []byte{}},
		{Key: fmt.Sprint("once", seq-2)},
	}
}

// faultState is the state after commit seq.
func faultState(seq uint64) map[string]string {
	state := map[string]string{}
	for n := uint64(1); n <= seq; n++ {
		for _, w := range faultWrites(n) {
			if w.Value == nil {
				delete(state, w.Key)
			} else {
				state[w.Key] = string(w.Value)
			}
		}
	}
	return state
}

// progress is what a workload was told: the last commit of each task that is
// durable, and that was submitted.
type progress struct{ durable, submitted [faultTasks]atomic.Uint64 }

// acked returns the durable ones.
func (p *progress) acked() (seq [faultTasks]uint64) {
	for i := range seq {
		seq[i] = p.durable[i].Load()
	}
	return seq
}

// faultWorkload runs until the end or the first error.
func faultWorkload(fs vfs.FS, p *progress) (err error) {
	b, err := newFaultBackend(fs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var stores [faultTasks]stateful.Store
	var pending [faultTasks][]stateful.Pending
	for seq := uint64(1); seq <= faultCommits; seq++ {
		for i := range stores {
			if seq%10 == 1 {
				if stores[i], _, err = b.Open(ctx, faultTask(i)); err != nil {
					return err
				}
			}
			p.submitted[i].Store(seq)
			pending[i] = append(pending[i], stores[i].Submit(ctx, stateful.Commit{Seq: seq, Token: seq, Writes: faultWrites(seq)}))
			if len(pending[i]) < faultDepth && seq < faultCommits {
				continue
			}
			for len(pending[i]) >= faultDepth || seq == faultCommits && len(pending[i]) > 0 {
				if err := pending[i][0].Wait(ctx); err != nil {
					return err
				}
				pending[i] = pending[i][1:]
				p.durable[i].Add(1)
			}
		}
		if seq%4 == 0 {
			if err := b.DB().Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func newFaultBackend(fs vfs.FS) (*pebble.Backend, error) {
	return pebble.New(ctx, pebble.Config{Dir: "db", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
}

// checkSurvived opens what is in fs: every durable commit is there, and of the
// others whole ones only, in order.
func checkSurvived(t *testing.T, fs vfs.FS, durable [faultTasks]uint64, submitted *progress) {
	t.Helper()
	b, err := newFaultBackend(fs)
	if err != nil {
		t.Fatalf("open what survived: %v", err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Errorf("close what survived: %v", err)
		}
	}()
	for i := range faultTasks {
		s, head, err := b.Open(ctx, faultTask(i))
		if err != nil {
			t.Fatal(err)
		}
		if head.Seq < durable[i] || head.Seq > submitted.submitted[i].Load() || head.Token != head.Seq {
			t.Errorf("task %d is at %+v, durable was %d of %d", i, head, durable[i], submitted.submitted[i].Load())
		}
		got := map[string]string{}
		for e, err := range s.Scan(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			got[e.Key] = string(e.Value)
		}
		if want := faultState(head.Seq); !maps.Equal(got, want) {
			t.Errorf("task %d at commit %d has\n%q\nwant\n%q", i, head.Seq, got, want)
		}
		if err := s.Submit(ctx, stateful.Commit{Seq: head.Seq + 1}).Wait(ctx); err != nil {
			t.Errorf("task %d does not go on: %v", i, err)
		}
	}
}

func TestACrashAtEveryFileOperation(t *testing.T) {
	type crash struct {
		fs      *vfs.MemFS
		durable [faultTasks]uint64
		op      string
	}
	var (
		mu      sync.Mutex
		crashes []crash
		p       progress
		rng     = rand.New(rand.NewPCG(1, 2))
	)
	disk := vfs.NewCrashableMem()
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		// Read first: what is durable by then must survive.
		durable := p.acked()
		for _, unsynced := range []int{0, 1 + rng.IntN(99), 1 + rng.IntN(99), 100} {
			survived := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})
			crashes = append(crashes, crash{survived, durable, fmt.Sprintf("%v %s unsynced=%d%%", op.Kind, op.Path, unsynced)})
		}
		return nil
	}))
	if err := faultWorkload(fs, &p); err != nil {
		t.Fatal(err)
	}
	for i, c := range crashes {
		t.Run(fmt.Sprintf("%d %s", i, c.op), func(t *testing.T) { checkSurvived(t, c.fs, c.durable, &p) })
	}
	t.Logf("%d crashes", len(crashes))
}

var errInjected = errors.New("injected: the disk is gone")

func TestAnErrorAtEveryFileOperation(t *testing.T) {
	t.Run("once", func(t *testing.T) { testErrors(t, 1) })
	t.Run("from then on", func(t *testing.T) { testErrors(t, 1<<30) })
}

// testErrors fails times operations from the n-th on, for every n.
func testErrors(t *testing.T, times int64) {
	failed := 0
	for n := 0; ; n++ {
		disk := vfs.NewMem()
		var p progress
		var ops, injected atomic.Int64
		var name atomic.Value
		err := faultWorkload(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if i := ops.Add(1) - 1; i < int64(n) || i >= int64(n)+times {
				return nil
			}
			injected.Add(1)
			name.CompareAndSwap(nil, fmt.Sprintf("%v %s", op.Kind, op.Path))
			return errInjected
		})), &p)
		if injected.Load() == 0 {
			t.Logf("%d operations, %d of which stop the workload when they fail", n, failed)
			if err != nil {
				t.Fatalf("without an injected error: %v", err)
			}
			return
		}
		if err != nil {
			failed++
		}
		t.Run(fmt.Sprintf("%d %s", n, name.Load()), func(t *testing.T) {
			checkSurvived(t, disk, p.acked(), &p)
		})
	}
}

func TestAFailedSyncIsNeverRetried(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"sync": errorfs.OpFileSyncData, "write": errorfs.OpFileWrite,
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			var armed, broken atomic.Bool
			var after atomic.Int64
			b, err := newFaultBackend(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
					after.Add(1)
				}
				if armed.Load() && op.Kind == kind && armed.Swap(false) {
					broken.Store(true)
					return errInjected
				}
				return nil
			})))
			if err != nil {
				t.Fatal(err)
			}
			s, _ := mustOpen(t, b)
			mustCommit(t, s, 1, stateful.Write{Key: "a", Value: []byte("1")})
			armed.Store(true)
			var last stateful.Pending
			for seq := uint64(2); seq < 12; seq++ {
				last = s.Submit(ctx, stateful.Commit{Seq: seq, Token: seq, Writes: []stateful.Write{{Key: "a", Value: make([]byte, 5000)}}})
			}
			err = last.Wait(ctx)
			if !broken.Load() {
				t.Fatal("there was no such operation")
			}
			if !errors.Is(err, errInjected) {
				t.Errorf("the commit says %v", err)
			}
			if _, err := s.Get(ctx, "a"); !errors.Is(err, errInjected) {
				t.Errorf("get says %v", err)
			}
			if err := s.Submit(ctx, stateful.Commit{Seq: 12}).Wait(ctx); !errors.Is(err, errInjected) {
				t.Errorf("submit says %v", err)
			}
			if _, _, err := b.Open(ctx, task); !errors.Is(err, errInjected) {
				t.Errorf("open says %v", err)
			}
			if err := b.Close(); !errors.Is(err, errInjected) {
				t.Errorf("close says %v", err)
			}
			if n := after.Load(); n != 0 {
				t.Errorf("%d changes reached the disk after the failure", n)
			}
		})
	}
}
