package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

var errBad = errors.New("it is bad")

// copier emits every record, and counts in state how many there were.
type copier struct{}

func (copier) HandlerName() string { return "copier" }
func (copier) Inputs() []string    { return []string{"in"} }
func (copier) Outputs() []string   { return []string{"out"} }
func (copier) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if string(rec.Value) == "bad" {
		return stateful.Permanent(errBad)
	}
	v, err := tx.Get(ctx, "count")
	if err != nil {
		return err
	}
	tx.Put("count", append(v, '.'))
	return tx.Emit(stateful.Row{Topic: "out", Payload: fmt.Appendf(nil, "%s:%d", rec.Value, len(v)), Time: rec.Time})
}

func processor(t *testing.T, b stateful.Backend, sink outbox.Sink, incarnation uint64) *stateful.Processor {
	t.Helper()
	return processorWith(t, stateful.Config{Backend: b, Outbox: outbox.New(sink), Incarnation: incarnation})
}

func processorWith(t *testing.T, c stateful.Config) *stateful.Processor {
	t.Helper()
	c.App = "app"
	p, err := stateful.NewProcessor(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AddTo(nil, copier{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// batch is the records [from, to) of the only partition.
func batch(from, to int64) stateful.Batch {
	b := stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Log: "log", Start: from, End: to}
	for i := from; i < to; i++ {
		b.Records = append(b.Records, stateful.Record{Value: fmt.Append(nil, i), Offset: i, Time: i})
	}
	return b
}

func payloads(rows []stateful.Row) string {
	var s string
	for i := range rows {
		s += string(rows[i].Payload) + " "
	}
	return s
}

// Whatever fails and wherever the process dies, each output is published once.
func TestOutputsAreTheSameWhateverFails(t *testing.T) {
	run := func(t *testing.T, seed uint64, share float64, restartEvery int64) string {
		backend, sink := statefultest.Faulty(memory.New(), seed, share), outbox.NewMemory()
		defer backend.Close()
		p := processor(t, backend, sink, 0)
		for at, tries := int64(0), 0; at < 60; tries++ {
			if tries > 1000 {
				t.Fatal("it does not get on")
			}
			if restartEvery > 0 && at%restartEvery == 0 {
				stopped, cancel := context.WithCancel(ctx) // no drain: as if it died
				cancel()
				p.Close(stopped)
				p = processor(t, backend, sink.Reopen(), 0)
			}
			if err := p.Process(ctx, "copier", batch(at, at+3)); err == nil {
				at += 3
			}
		}
		// A task that is broken when its processor closes publishes at the next start.
		for tries := 0; len(sink.Rows()) < 60 && tries < 100; tries++ {
			p.Close(ctx)
			p = processor(t, backend, sink.Reopen(), 0)
			p.Process(ctx, "copier", batch(0, 60)) // opens the task; it has seen them
			synctest.Wait()
		}
		p.Close(ctx)
		return payloads(sink.Rows())
	}
	var want string
	synctest.Test(t, func(t *testing.T) { want = run(t, 0, 0, 0) })
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := run(t, seed, 0.3, 3*int64(seed%4)); got != want {
					t.Errorf("published\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

func TestPublishedRowsAreForgottenByTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := memory.New()
		defer backend.Close()
		for _, c := range []outbox.Config{
			{Sinks: []outbox.Sink{outbox.NewMemory()}, KeepFor: -1},
			{Sinks: []outbox.Sink{swallow{}}}, // without a cursor it cannot tell what it lost
		} {
			p := processorWith(t, stateful.Config{Backend: backend, Outbox: outbox.NewWith(c)})
			if err := p.Process(ctx, "copier", batch(0, 5)); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(ctx); err != nil {
				t.Fatal(err)
			}
			if got := storedRows(t, backend); len(got) > 0 {
				t.Errorf("rows %x are still stored", got)
			}
		}
	})
}

// storedRows returns the keys of the rows in the state; it fences the task.
func storedRows(t *testing.T, b stateful.Backend) (keys []string) {
	t.Helper()
	s, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "copier"})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Scan(ctx, "o", "p") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

// O2: whoever tells a task that it was fenced, the store or a sink, it must not open itself
// again, for that would fence the new owner.
func TestAFencedTaskStaysClosed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fence func(t *testing.T, b stateful.Backend, sink *outbox.Memory)
		first bool // a record fails before the task learns of it
	}{
		{name: "by its store", fence: openElsewhere},
		{name: "by its store, after a failure", fence: openElsewhere, first: true},
		{name: "by its sink", fence: func(t *testing.T, _ stateful.Backend, sink *outbox.Memory) {
			p := stateful.Producer{App: "app", Incarnation: 2, Handler: "copier", Epoch: 1}
			if _, err := sink.Recover(ctx, p, nil); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				backend, sink := memory.New(), outbox.NewMemory()
				defer backend.Close()
				p := processor(t, backend, sink, 0)
				if err := p.Process(ctx, "copier", batch(0, 1)); err != nil {
					t.Fatal(err)
				}
				if tt.first {
					bad := batch(1, 2)
					bad.Start, bad.End = 5, 6
					if err := p.Process(ctx, "copier", bad); !errors.Is(err, stateful.ErrOutOfTurn) {
						t.Fatalf("a gap gave %v", err)
					}
				}
				tt.fence(t, backend, sink)
				var err error
				for at := range int64(10) {
					if err = p.Process(ctx, "copier", batch(1+at, 2+at)); err != nil {
						break
					}
					synctest.Wait()
				}
				for range 3 {
					again := p.Process(ctx, "copier", batch(1, 2))
					if !errors.Is(err, stateful.ErrFenced) || !errors.Is(again, stateful.ErrFenced) {
						t.Errorf("Process returned %v, then %v, want ErrFenced", err, again)
					}
				}
				if p.Ready() == nil {
					t.Error("the processor says it is ready")
				}
				_, head, err := backend.Open(ctx, stateful.TaskID{App: "app", Handler: "copier"})
				if want := uint64(3); tt.name != "by its sink" && (err != nil || head.Epoch != want) {
					t.Errorf("the epoch is now %d (%v), want %d: the task opened itself again", head.Epoch, err, want)
				}
				some, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				p.Close(some)
			})
		})
	}
}

func openElsewhere(t *testing.T, b stateful.Backend, _ *outbox.Memory) {
	t.Helper()
	if _, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "copier"}); err != nil {
		t.Fatal(err)
	}
}

// A sink that refuses a row for ever pauses its task, and readiness says why.
func TestASinkThatFailsForGoodPausesTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, sink := memory.New(), newFaulty()
		defer backend.Close()
		sink.commit = func(context.Context, stateful.Producer, []stateful.Row) (int, error) {
			return 0, stateful.Permanent(errDown)
		}
		p := processor(t, backend, sink, 0)
		if err := p.Process(ctx, "copier", batch(0, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := p.Ready(); err == nil {
			t.Error("it is ready")
		}
		if err := p.Process(ctx, "copier", batch(1, 2)); !errors.Is(err, errDown) {
			t.Errorf("Process returned %v, want the sink's error", err)
		}
		p.Close(ctx)
		sink.commit = nil
		p = processor(t, backend, sink, 0)
		sink.Memory = sink.Reopen()
		if err := p.Process(ctx, "copier", batch(1, 2)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if got := payloads(sink.Rows()); got != "0:0 1:1 " {
			t.Errorf("published %q", got)
		}
	})
}

func TestARaisedIncarnationPublishesOnAndItsStateStaysRaised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, sink := memory.New(), outbox.NewMemory()
		defer backend.Close()
		for i, incarnation := range []uint64{1, 2, 2} {
			p := processor(t, backend, sink.Reopen(), incarnation)
			if err := p.Process(ctx, "copier", batch(int64(i), int64(i)+1)); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := payloads(sink.Rows()); got != "0:0 1:1 2:2 " {
			t.Errorf("published %q", got)
		}
	})
}
