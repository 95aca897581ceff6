package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/statefultest"
)

// S1, T-position: what was committed is dropped when it comes again, by whom ever.
func TestCommittedRecordsAreDropped(t *testing.T) {
	r := newRig(t, sums())
	b := r.batch("in", "a 1", "b 2")
	for range 3 {
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	overlap := r.batch("in", "a 5")
	overlap.Start, overlap.Records = b.Start, append(slices.Clone(b.Records), overlap.Records...)
	if err := r.process(overlap); err != nil {
		t.Fatal(err)
	}
	r.want("out: a 1", "out: b 2", "out: a 6")
}

func TestGapIsRefused(t *testing.T) {
	r := newRig(t, sums())
	r.send("a 1")
	missing := r.batch("in", "a 2")
	after := r.batch("in", "a 4")
	if err := r.process(after); !errors.Is(err, stateful.ErrOutOfTurn) {
		t.Fatalf("the error is %v, want ErrOutOfTurn", err)
	}
	for _, b := range []stateful.Batch{missing, after} {
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
	}
	r.want("out: a 1", "out: a 3", "out: a 7")
}

// Compaction and transaction markers leave offsets without a record: a batch covers them.
func TestOffsetsWithoutRecordsAreNoGap(t *testing.T) {
	r := newRig(t, sums())
	b := r.batch("in", "a 1")
	b.End = 10
	if err := r.process(b); err != nil {
		t.Fatal(err)
	}
	r.restart()
	empty := stateful.Batch{Partition: b.Partition, Log: b.Log, Start: 10, End: 20}
	last := stateful.Batch{
		Partition: b.Partition, Log: b.Log, Start: 20, End: 30,
		Records: []stateful.Record{{Value: []byte("a 2"), Offset: 25}},
	}
	for _, b := range []stateful.Batch{empty, last, last} {
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
	}
	r.want("out: a 1", "out: a 3")
}

// S2: the same topic made again is not the same log.
func TestAnotherLogIsRefused(t *testing.T) {
	r := newRig(t, sums())
	r.send("a 1")
	r.restart()
	b := r.batch("in", "a 2")
	b.Log = "log-2"
	wantErr(t, r.process(b), "log-1", "log-2", "deleted and made again")
	wantErr(t, r.p.Ready(), "log-2")
	r.want("out: a 1")
}

// T4: an unknown outcome is settled by opening the task again, whichever it was.
func TestUnknownOutcome(t *testing.T) {
	for _, applied := range []bool{false, true} {
		t.Run(fmt.Sprintf("applied=%v", applied), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := scripted(nil)
				b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
					if n != 2 {
						return apply()
					}
					if applied {
						apply()
					}
					return failedPending{fmt.Errorf("no answer: %w", stateful.ErrCommitUnknown)}
				}
				r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
				r.send("a 1")
				second := r.batch("in", "a 2", "b 1")
				if err := r.process(second); !errors.Is(err, stateful.ErrCommitUnknown) {
					t.Fatalf("the error is %v, want ErrCommitUnknown", err)
				}
				if r.p.Ready() == nil {
					t.Error("the processor is ready although a task waits")
				}
				if err := r.process(second); err != nil {
					t.Fatal(err)
				}
				if err := r.p.Ready(); err != nil {
					t.Errorf("it is not ready again: %v", err)
				}
				r.send("a 3")
				if opens, _ := b.count(); opens != 2 {
					t.Errorf("the task was opened %d times, want 2", opens)
				}
				r.want("out: a 1", "out: a 3", "out: b 1", "out: a 6")
			})
		})
	}
}

// Whatever is lost of a commit's answers, and whenever, what comes out is the same.
func TestFaultyCommitsChangeNothing(t *testing.T) {
	play := func(t *testing.T, share float64, seed uint64) []string {
		var lines []string
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, sums(), func(c *stateful.Config) {
				c.Limits.CommitRows = 5
				c.Backend = statefultest.Faulty(c.Backend, seed, share)
			})
			rng := rand.New(rand.NewPCG(seed, 0))
			values := rand.New(rand.NewPCG(7, 7))
			for range 30 {
				var v []string
				for range 1 + values.IntN(12) {
					v = append(v, fmt.Sprintf("k%d %d", values.IntN(5), values.IntN(100)))
				}
				b := r.batch("in", v...)
				for err := stateful.ErrCommitUnknown; err != nil; err = r.process(b) {
					if !errors.Is(err, stateful.ErrCommitUnknown) {
						t.Fatal(err)
					}
					if rng.IntN(10) == 0 {
						r.restart()
					}
				}
			}
			lines = r.sink.all()
		})
		return lines
	}
	want := play(t, 0, 0)
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			wantLines(t, play(t, 0.3, seed), want...)
		})
	}
}

// T3: a batch of more rows than a commit may have is committed at records' borders; a
// crash after any of its commits repeats nothing and loses nothing.
func TestBatchOverSeveralCommits(t *testing.T) {
	var values, want []string
	for i := range 20 {
		values = append(values, fmt.Sprintf("k%d 1", i%3))
		want = append(want, fmt.Sprintf("out: k%d %d", i%3, i/3+1))
	}
	const rows = 6
	for crash := 0; crash <= 8; crash++ {
		t.Run(fmt.Sprintf("crash after commit %d", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := scripted(nil)
				b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
					if crash > 0 && n > crash {
						return failedPending{errDisk}
					}
					return apply()
				}
				r := newRig(t, sums(), func(c *stateful.Config) {
					c.Limits.CommitRows = rows
					b.Backend, c.Backend = c.Backend, b
				})
				batch := r.batch("in", values...)
				err := r.process(batch)
				_, commits := b.count()
				for i, c := range b.commits {
					if len(c.Writes) > rows+3 {
						t.Errorf("commit %d has %d writes", i+1, len(c.Writes))
					}
				}
				if crash > 0 && crash < 4 && err == nil {
					t.Errorf("the batch was acknowledged although commit %d of %d failed", crash+1, commits)
				}
				b.submit = nil
				r.restart()
				if err := r.process(batch); err != nil {
					t.Fatal(err)
				}
				r.want(want...)
			})
		})
	}
}

// T2: a failure of the store is not the record's: it counts no try and buries nothing.
func TestFailuresOfTheStoreAreNotTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		r.send("a 1")
		b.get = func(keys []string) error {
			if strings.HasPrefix(keys[0], "u") {
				return errDisk
			}
			return nil
		}
		batch := r.batch("in", "b 1")
		start := time.Now()
		for range 10 {
			if err := r.process(batch); !errors.Is(err, errDisk) {
				t.Fatalf("the error is %v, want that of the disk", err)
			}
			wantErr(t, r.p.Ready(), "disk")
		}
		if waited := time.Since(start); waited < 5*time.Second {
			t.Errorf("ten failures took %v: nothing was waited for", waited)
		}
		b.get = nil
		if err := r.process(batch); err != nil {
			t.Fatal(err)
		}
		r.want("out: a 1", "out: b 1")
	})
}

// A handler that swallows the store's error cannot make a wrong state durable.
func TestSwallowedReadErrorIsStillAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, v string) error {
			_, _ = tx.Get(ctx, "swallowed")
			return nil
		}), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		b.get = func(keys []string) error {
			if keys[0] == "uswallowed" {
				return errDisk
			}
			return nil
		}
		if err := r.process(r.batch("in", "x")); !errors.Is(err, errDisk) {
			t.Fatalf("the error is %v, want that of the disk", err)
		}
		r.want()
	})
}

// O2: who was fenced does not fence back.
func TestFencedTaskStaysClosed(t *testing.T) {
	b := scripted(nil)
	r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
	r.send("a 1")
	old, ctx := r.p, r.ctx
	r.restart()
	late := r.batch("in", "a 2")
	if err := r.process(late); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := old.Process(ctx, "sums", late); !errors.Is(err, stateful.ErrFenced) {
			t.Fatalf("the error is %v, want ErrFenced", err)
		}
	}
	wantErr(t, old.Ready(), "fenced")
	if opens, _ := b.count(); opens != 2 {
		t.Errorf("the task was opened %d times, want 2: once by each", opens)
	}
	r.send("a 3")
	r.want("out: a 1", "out: a 3", "out: a 6")
}

// The same when it is the commit that says so.
func TestTaskWhoseCommitWasFencedStaysClosed(t *testing.T) {
	b := scripted(nil)
	b.submit = func(int, stateful.Commit, func() stateful.Pending) stateful.Pending {
		return failedPending{stateful.ErrFenced}
	}
	r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
	batch := r.batch("in", "a 1")
	for range 3 {
		if err := r.process(batch); !errors.Is(err, stateful.ErrFenced) {
			t.Fatalf("the error is %v, want ErrFenced", err)
		}
	}
	if opens, commits := b.count(); opens != 1 || commits != 1 {
		t.Errorf("the task was opened %d times and submitted %d commits, want 1 and 1", opens, commits)
	}
}

// T1: while one batch becomes durable the next is processed, on top of it.
func TestCommitsArePipelined(t *testing.T) {
	for _, tt := range []struct {
		name   string
		settle func(b *lagging)
		failed []bool
		opens  int
	}{
		{"all land", func(b *lagging) { b.land(1); b.land(2); b.land(3) }, []bool{false, false, false}, 1},
		{"the first fails and all behind it", func(b *lagging) {
			b.fail(1, errDisk)
			b.fail(2, errDisk)
			b.fail(3, errDisk)
		}, []bool{true, true, true}, 2},
		{"the second fails and the one behind it", func(b *lagging) {
			b.land(1)
			b.fail(2, stateful.ErrCommitUnknown)
			b.fail(3, stateful.ErrCommitUnknown)
		}, []bool{false, true, true}, 2},
		{"the answers come in any order", func(b *lagging) {
			b.fail(3, errDisk)
			b.fail(2, errDisk)
			b.land(1)
		}, []bool{false, true, true}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &lagging{}
				r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
				batches, done := inFlight(t, r, b, 3)
				if slices.ContainsFunc(done, func(o outcome) bool { return o.returned }) {
					t.Errorf("a batch was done before it was durable: %v", done)
				}
				r.want()
				tt.settle(b)
				settle()
				for i, failed := range tt.failed {
					if !done[i].returned || (done[i].err != nil) != failed {
						t.Errorf("batch %d: %+v, want failed %v", i, done[i], failed)
					}
				}
				b.mu.Lock()
				n := len(b.waiting)
				b.mu.Unlock()
				for i, o := range done {
					if o.err == nil {
						continue
					}
					end := make(chan error)
					go func() { end <- r.process(batches[i]) }()
					synctest.Wait()
					n++
					b.land(n)
					if err := <-end; err != nil {
						t.Fatal(err)
					}
				}
				r.want("out: a 1", "out: a 3", "out: a 6")
				if b.opens != tt.opens {
					t.Errorf("the task was opened %d times, want %d", b.opens, tt.opens)
				}
			})
		})
	}
}

// settle lets whatever backs off in the bubble come back.
func settle() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

type outcome struct {
	returned bool
	err      error
}

// inFlight processes n batches of which none is durable.
func inFlight(t *testing.T, r *rig, b *lagging, n int) ([]stateful.Batch, []outcome) {
	t.Helper()
	var batches []stateful.Batch
	done := make([]outcome, n)
	for i := range n {
		batches = append(batches, r.batch("in", fmt.Sprintf("a %d", i+1)))
		go func() {
			err := r.process(batches[i])
			done[i] = outcome{true, err}
		}()
		synctest.Wait()
		if got := b.commits(); got != i+1 {
			t.Fatalf("%d batches were sent and %d commits submitted", i+1, got)
		}
	}
	return batches, done
}

// A commit that failed because the task was opened again in the meantime was fenced by
// its own task: nobody else owns it, and it must go on.
func TestTaskIsNotFencedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &lagging{}
		r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		batches, done := inFlight(t, r, b, 2)
		b.fail(1, stateful.ErrCommitUnknown)
		settle()
		again := make(chan error, 1)
		go func() { again <- r.process(batches[0]) }()
		synctest.Wait() // the task is open again and has submitted
		b.fail(2, stateful.ErrFenced)
		settle()
		if !done[1].returned || done[1].err == nil {
			t.Fatalf("the second batch: %+v", done[1])
		}
		b.land(3)
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		go func() { again <- r.process(batches[1]) }()
		synctest.Wait()
		b.land(4)
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		r.want("out: a 1", "out: a 3")
		if b.opens != 2 {
			t.Errorf("the task was opened %d times, want 2", b.opens)
		}
	})
}

// A batch that was seen already is done only when the commit that holds it is.
func TestDuplicateWaitsForItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &lagging{}
		r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		batches, _ := inFlight(t, r, b, 1)
		var again outcome
		go func() { again = outcome{true, r.process(batches[0])} }()
		synctest.Wait()
		if again.returned {
			t.Fatal("it was done before its commit")
		}
		b.fail(1, errDisk)
		settle()
		if again.err == nil {
			t.Error("it was acknowledged although its commit failed")
		}
	})
}
