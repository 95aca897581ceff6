package pebble_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	cockroach "github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
)

const (
	benchKeys   = 100_000
	benchWrites = 1000
	benchDepth  = 4
)

func benchCommits() [][]stateful.Write {
	rng := rand.New(rand.NewPCG(1, 2))
	order := rng.Perm(benchKeys)
	commits := make([][]stateful.Write, benchKeys/benchWrites)
	for i := range commits {
		for _, k := range order[i*benchWrites : (i+1)*benchWrites] {
			commits[i] = append(commits[i], stateful.Write{Key: fmt.Sprintf("w%018d", k), Value: make([]byte, 10)})
		}
	}
	return commits
}

func benchBackend(b *testing.B) *pebble.Backend {
	back, err := pebble.New(ctx, pebble.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := back.Close(); err != nil {
			b.Error(err)
		}
	})
	return back
}

// BenchmarkCommit compares commits of a task, four in flight, with the same
// writes in bare batches of Pebble's in rounds of the same length, taken in turn.
func BenchmarkCommit(b *testing.B) {
	commits := benchCommits()
	back, raw := benchBackend(b), benchBackend(b).DB()
	s, _, err := back.Open(ctx, task)
	if err != nil {
		b.Fatal(err)
	}
	var seq uint64
	var pending []stateful.Pending
	wait := func(most int) {
		for len(pending) > most {
			if err := pending[0].Wait(ctx); err != nil {
				b.Fatal(err)
			}
			pending = pending[1:]
		}
	}
	var batches []*cockroach.Batch
	sync := func(most int) {
		for len(batches) > most {
			if err := raw.SyncWait(batches[0]); err != nil {
				b.Fatal(err)
			}
			batches[0].Close()
			batches = batches[1:]
		}
	}
	var ours, bare time.Duration
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for range 16 {
			seq++
			pending = append(pending, s.Submit(ctx, stateful.Commit{Seq: seq, Writes: commits[seq%uint64(len(commits))]}))
			wait(benchDepth - 1)
		}
		wait(0)
		ours += time.Since(start)

		start = time.Now()
		for i := range 16 {
			batch := raw.NewBatch()
			for _, w := range commits[(n+i)%len(commits)] {
				op := batch.SetDeferred(len(w.Key), len(w.Value))
				copy(op.Key, w.Key)
				copy(op.Value, w.Value)
				if err := op.Finish(); err != nil {
					b.Fatal(err)
				}
			}
			if err := raw.ApplyNoSyncWait(batch, cockroach.Sync); err != nil {
				b.Fatal(err)
			}
			batches = append(batches, batch)
			sync(benchDepth - 1)
		}
		sync(0)
		bare += time.Since(start)
		n += 16
	}
	writes := float64(n * benchWrites)
	b.ReportMetric(writes/ours.Seconds(), "writes/s")
	b.ReportMetric(writes/bare.Seconds(), "raw-writes/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-raw")
}

// BenchmarkGet reads 1,000 keys at a time, all there or none.
func BenchmarkGet(b *testing.B) {
	back := benchBackend(b)
	s, _, err := back.Open(ctx, task)
	if err != nil {
		b.Fatal(err)
	}
	commits := benchCommits()
	for i, writes := range commits {
		if err := s.Submit(ctx, stateful.Commit{Seq: uint64(i + 1), Writes: writes}).Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
	if err := back.DB().Flush(); err != nil {
		b.Fatal(err)
	}
	for _, there := range []bool{true, false} {
		b.Run(fmt.Sprintf("there=%t", there), func(b *testing.B) {
			keys := make([]string, benchWrites)
			i := 0
			for b.Loop() {
				for j := range keys {
					keys[j] = commits[i%len(commits)][j].Key
					if !there {
						keys[j] += "x"
					}
				}
				if _, err := s.Get(ctx, keys...); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(b.N)*benchWrites/b.Elapsed().Seconds(), "keys/s")
		})
	}
}
