package memory_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

var ctx = context.Background()

var task = stateful.TaskID{App: "app", Handler: "h"}

func TestBackend(t *testing.T) {
	statefultest.TestBackend(t, func(*testing.T) stateful.Backend { return memory.New() })
}

func TestLeases(t *testing.T) {
	statefultest.TestLeases(t, func(*testing.T) stateful.Leaser { return memory.New() }, nil)
}

func TestPeeker(t *testing.T) {
	statefultest.TestPeeker(t, func(*testing.T) stateful.Backend { return memory.New() })
}

func TestDomainIsTheProcess(t *testing.T) {
	if d := memory.New().Domain(); d != stateful.DomainProcess {
		t.Errorf("got %s", d)
	}
}

// open returns a store with n entries of ten bytes and the commits of 1,000 writes
// that made them.
func open(tb testing.TB, n int) (stateful.Store, [][]stateful.Write) {
	tb.Helper()
	s, _, err := memory.New().Open(ctx, task)
	if err != nil {
		tb.Fatal(err)
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	commits := make([][]stateful.Write, n/1000)
	for i := range commits {
		for _, k := range order[i*1000 : (i+1)*1000] {
			commits[i] = append(commits[i], stateful.Write{Key: fmt.Sprintf("w%018d", k), Value: make([]byte, 10)})
		}
		if err := s.Submit(ctx, stateful.Commit{Seq: uint64(i + 1), Writes: commits[i]}).Wait(ctx); err != nil {
			tb.Fatal(err)
		}
	}
	return s, commits
}

func TestAWriteToAnExistingKeyAllocatesNothing(t *testing.T) {
	s, commits := open(t, 1000)
	seq := uint64(len(commits))
	if n := testing.AllocsPerRun(50, func() {
		seq++
		if err := s.Submit(ctx, stateful.Commit{Seq: seq, Writes: commits[0]}).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("a commit of 1,000 writes allocates %v times", n)
	}
}

func TestAnEntryTakesAtMost100Bytes(t *testing.T) {
	const n = 300_000 // a hash table this large is filled as on average
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("w%018d", i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	b := memory.New()
	before := heap()
	s, _, err := b.Open(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	writes := make([]stateful.Write, 1000)
	value := make([]byte, 8)
	for i := range n / 1000 {
		for j := range writes {
			writes[j] = stateful.Write{Key: keys[1000*i+j], Value: value}
		}
		if err := s.Submit(ctx, stateful.Commit{Seq: uint64(i + 1), Writes: writes}).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	each := (heap() - before) / n
	t.Logf("%d bytes for each entry", each)
	if each > 100 {
		t.Errorf("an entry takes %d bytes", each)
	}
	runtime.KeepAlive(keys)
	runtime.KeepAlive(b)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkCommit compares commits of 1,000 writes among 100 K keys with the same
// writes in a bare batch of Pebble's on a memory disk, taken in turn.
func BenchmarkCommit(b *testing.B) {
	s, commits := open(b, 100_000)
	db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem(), MemTableSize: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	var ours, bare time.Duration
	seq := uint64(len(commits))
	b.ReportAllocs()
	for b.Loop() {
		seq++
		writes := commits[seq%uint64(len(commits))]
		start := time.Now()
		if err := s.Submit(ctx, stateful.Commit{Seq: seq, Writes: writes}).Wait(ctx); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)

		start = time.Now()
		batch := db.NewBatch()
		for _, w := range writes {
			op := batch.SetDeferred(len(w.Key), len(w.Value))
			copy(op.Key, w.Key)
			copy(op.Value, w.Value)
			if err := op.Finish(); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			b.Fatal(err)
		}
		batch.Close()
		bare += time.Since(start)
	}
	writes := float64(b.N * 1000)
	b.ReportMetric(writes/ours.Seconds(), "writes/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-raw-pebble")
}
