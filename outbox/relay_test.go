package outbox_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

func TestRelayPublishesEachRowOnceAndInOrder(t *testing.T) {
	type commit = func(context.Context, stateful.Producer, []stateful.Row) (int, error)
	once := func(fault func(f *faulty) commit) func(*faulty) {
		return func(f *faulty) {
			f.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
				c := fault(f)
				f.commit = nil
				return c(ctx, p, rows)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		fault func(*faulty)
	}{
		{"when nothing fails", func(*faulty) {}},
		{"when a commit fails before it takes effect", once(func(*faulty) commit {
			return func(context.Context, stateful.Producer, []stateful.Row) (int, error) { return 0, errDown }
		})},
		{"when a commit fails after it took effect", once(func(f *faulty) commit {
			return func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
				f.Memory.Commit(ctx, p, rows)
				return 0, errDown
			}
		})},
		{"when a part of a commit takes effect", once(func(f *faulty) commit {
			return func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
				f.Memory.Commit(ctx, p, rows[:1])
				return 1, errDown
			}
		})},
		{"when all of a commit takes effect and yet it fails", once(func(f *faulty) commit {
			return func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
				f.Memory.Commit(ctx, p, rows)
				return len(rows), errDown
			}
		})},
		{"when the sink panics", once(func(*faulty) commit {
			return func(context.Context, stateful.Producer, []stateful.Row) (int, error) { panic("out of paper") }
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newFaulty()
				tt.fault(sink)
				o := open(t, outbox.New(sink), nil)
				o.Push(rows(1, 3), nil)
				o.Push(rows(4, 4), nil)
				o.Push(rows(5, 9), nil)
				drained(t, o)
				wantSeqs(t, "sink", sink.Rows(), span(1, 9))
				if got := o.Published()["memory"].Seq; got != 9 {
					t.Errorf("Published = %d, want 9", got)
				}
				if n, bytes := o.Backlog(); n != 0 || bytes != 0 {
					t.Errorf("Backlog = %d rows, %d bytes after all is published", n, bytes)
				}
			})
		})
	}
}

func TestRelayWaitsLongerAfterEachFailureAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFaulty()
		var at []time.Duration
		start := now()
		sink.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
			at = append(at, now().Sub(start))
			if len(at) < 12 {
				return 0, errDown
			}
			return sink.Memory.Commit(ctx, p, rows)
		}
		o := open(t, outbox.New(sink), nil)
		o.Push(rows(1, 2), nil)
		drained(t, o)
		synctest.Wait()
		limit := 100 * time.Millisecond
		for i := 1; i < len(at); i++ {
			if wait := at[i] - at[i-1]; wait < limit/2 || wait > limit {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, limit/2, limit)
			}
			limit = min(2*limit, 5*time.Second)
		}
		told := o.told()
		if len(told) != 12 || !errors.Is(told[0], errDown) || told[11] != nil {
			t.Errorf("the task was told %v, want 11 failures and then nil", told)
		}
	})
}

func TestRelayBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFaulty()
		var sizes []int
		gate := make(chan struct{})
		sink.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
			<-gate
			sizes = append(sizes, len(rows))
			return sink.Memory.Commit(ctx, p, rows)
		}
		one := rows(1, 1)[0]
		o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink}, BatchRows: 4, BatchBytes: 3 * one.Size()}), nil)
		o.Push(rows(1, 1), nil)
		synctest.Wait()
		o.Push(rows(2, 3), nil) // one batch over two pushes, cut by bytes
		o.Push(rows(4, 6), nil)
		big := rows(7, 7)
		big[0].Payload = make([]byte, 10*one.Size())
		o.Push(big, nil)
		close(gate)
		drained(t, o)
		if want := []int{1, 3, 2, 1}; !slices.Equal(sizes, want) {
			t.Errorf("commits had %v rows, want %v", sizes, want)
		}
	})
}

// K2: without the rule, rows behind the one that failed would be published.
func TestRelayStopsAtARowThatIsRefusedForEver(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"a permanent error", stateful.Permanent(errDown)},
		{"a newer owner", stateful.ErrFenced},
		{"a closed sink", stateful.ErrClosed},
		{"a count that cannot be", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink, calls := newFaulty("out"), 0
				sink.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
					calls++
					n := slices.IndexFunc(rows, func(r stateful.Row) bool { return r.Seq == 3 })
					if n < 0 {
						return sink.Memory.Commit(ctx, p, rows)
					}
					if tt.err == nil {
						return 0, nil
					}
					sink.Memory.Commit(ctx, p, rows[:n])
					return n, tt.err
				}
				other := outbox.NewMemory("other")
				o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, other}, BatchRows: 1}), func(ot *stateful.OutboxTask) {
					ot.Topics = []string{"out", "other"}
				})
				o.Push(rows(1, 5), nil)
				err := o.Drained(ctx)
				if err == nil || tt.err != nil && !errors.Is(err, tt.err) {
					t.Errorf("Drained returned %v, want %v", err, tt.err)
				}
				o.Push(append(rowsTo("other", 6, 6), rows(7, 7)...), nil)
				<-time.After(time.Hour)
				if err := o.Room(ctx); err == nil || tt.err != nil && !errors.Is(err, tt.err) {
					t.Errorf("Room returned %v, want %v", err, tt.err)
				}
				wantSeqs(t, "sink that failed", sink.Rows(), span(1, 2))
				wantSeqs(t, "other sink", other.Rows(), span(6, 6))
				if calls != 3 {
					t.Errorf("the sink was called %d times, want 3: no try after a final error", calls)
				}
				if p := o.Published(); p["memory:out"].Seq != 2 || p["memory:other"].Seq != 6 {
					t.Errorf("Published = %v", p)
				}
				if told := o.told(); len(told) != 1 || told[0] == nil {
					t.Errorf("the task was told %v, want one failure", told)
				}
			})
		})
	}
}

func TestRoomWaits(t *testing.T) {
	size := int64(rows(1, 1)[0].Size())
	for _, tt := range []struct {
		name  string
		limit func(*stateful.OutboxTask)
		full  uint64 // this many rows are too many
	}{
		{"for rows", func(ot *stateful.OutboxTask) { ot.MaxRows = 3 }, 3},
		{"for bytes", func(ot *stateful.OutboxTask) { ot.MaxBytes = 2 * size }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink, gate := newFaulty(), make(chan struct{})
				sink.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
					<-gate
					return sink.Memory.Commit(ctx, p, rows)
				}
				o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink}, BatchRows: 1}), tt.limit)
				o.Push(rows(1, tt.full-1), nil)
				if err := o.Room(ctx); err != nil {
					t.Fatalf("one row below the limit: %v", err)
				}
				o.Push(rows(tt.full, tt.full), nil)
				some, cancel := context.WithTimeoutCause(ctx, time.Minute, errDown)
				defer cancel()
				if err := o.Room(some); !errors.Is(err, errDown) {
					t.Errorf("at the limit Room returned %v, want the cause of the context's end", err)
				}
				waited := make(chan error)
				go func() { waited <- o.Room(ctx) }()
				synctest.Wait()
				gate <- struct{}{} // one row is published
				if err := <-waited; err != nil {
					t.Errorf("below the limit again: %v", err)
				}
				close(gate)
				drained(t, o)
			})
		})
	}
}

func TestCloseStopsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		commit func(ctx context.Context) error
	}{
		{"while the sink blocks", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		{"while the relay waits for the next try", func(context.Context) error { return errDown }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newFaulty()
				sink.commit = func(ctx context.Context, _ stateful.Producer, _ []stateful.Row) (int, error) {
					return 0, tt.commit(ctx)
				}
				o := open(t, outbox.New(sink), nil)
				o.Push(rows(1, 2), nil)
				room := make(chan error, 1)
				go func() { room <- o.Drained(ctx) }()
				synctest.Wait()
				before := now()
				if err := o.Close(); err != nil {
					t.Error(err)
				}
				if d := now().Sub(before); d != 0 {
					t.Errorf("Close took %v", d)
				}
				if err := <-room; !errors.Is(err, stateful.ErrClosed) {
					t.Errorf("Drained returned %v, want ErrClosed", err)
				}
				o.Push(rows(3, 4), nil) // does nothing
				synctest.Wait()
				if told := o.told(); len(told) > 0 && told[len(told)-1] != nil {
					t.Errorf("after Close the task still believes that %v", told)
				}
			})
		})
	}
}

func TestPanicOfASinkIsLoggedWithItsStackAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFaulty()
		sink.commit = func(context.Context, stateful.Producer, []stateful.Row) (int, error) {
			sink.commit = nil
			panic("out of paper")
		}
		o := open(t, outbox.New(sink), nil)
		o.Push(rows(1, 2), nil)
		drained(t, o)
		var p *stateful.PanicError
		if told := o.told(); len(told) == 0 || !errors.As(told[0], &p) || !strings.Contains(string(p.Stack), "relay_test.go") {
			t.Errorf("the task was told %v, want a panic with its stack", told)
		}
	})
}

func BenchmarkRelay(b *testing.B) {
	ob := outbox.New(swallow{})
	o, err := ob.OpenTask(ctx, stateful.OutboxTask{Producer: clicks, Topics: []string{"out"}, NextSeq: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	all, seq := rows(1, 1000), uint64(1)
	for b.Loop() {
		batch := slices.Clone(all)
		for i := range batch {
			batch[i].Seq = seq
			seq++
		}
		_, rest := o.Join(batch)
		o.Push(rest, nil)
		if err := o.Drained(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}

// swallow takes everything; unlike Discard, by way of the relay.
type swallow struct{}

func (swallow) Traits() stateful.SinkTraits { return stateful.SinkTraits{Name: "swallow", FIFO: true} }
func (swallow) Check(*stateful.Row) error   { return nil }
func (swallow) Close() error                { return nil }
func (swallow) Recover(context.Context, stateful.Producer, []stateful.Prepared) (outbox.Cursor, error) {
	return outbox.Cursor{}, nil
}

func (swallow) Commit(_ context.Context, _ stateful.Producer, rows []stateful.Row) (int, error) {
	return len(rows), nil
}
