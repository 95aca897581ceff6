package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// picky is a sink that refuses some sequences of topic "out" for ever.
type picky struct {
	*outbox.Memory
	name    string
	whole   bool // a commit is all or nothing
	refused []uint64
	commits int
	before  func() error // of every call that reaches the store
	after   func() error
}

func newPicky(whole bool, refused ...uint64) *picky {
	return &picky{Memory: outbox.NewMemory(), name: "picky", whole: whole, refused: refused}
}

func (s *picky) Traits() stateful.SinkTraits {
	t := s.Memory.Traits()
	t.Name = s.name
	return t
}

func hook(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (s *picky) Recover(ctx context.Context, p stateful.Producer, d []stateful.Prepared) (outbox.Cursor, error) {
	if err := hook(s.before); err != nil {
		return outbox.Cursor{}, err
	}
	c, err := s.Memory.Recover(ctx, p, d)
	if late := hook(s.after); late != nil {
		err = late
	}
	return c, err
}

func (s *picky) Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
	s.commits++
	if err := hook(s.before); err != nil {
		return 0, err
	}
	n := slices.IndexFunc(rows, func(r stateful.Row) bool { return r.Topic == "out" && slices.Contains(s.refused, r.Seq) })
	if n < 0 {
		n, err := s.Memory.Commit(ctx, p, rows)
		if late := hook(s.after); late != nil {
			return 0, late
		}
		return n, err
	}
	if s.whole {
		n = 0
	}
	if _, err := s.Memory.Commit(ctx, p, rows[:n]); err != nil {
		return 0, err
	}
	return n, stateful.Permanent(errors.New("never"))
}

// K4: a row that is refused for ever goes to the dead-letter topic, in its place, and the rest goes on.
func TestRefusedRowsAreDeadLettered(t *testing.T) {
	all := span(1, 9)
	for _, refused := range [][]uint64{{1}, {3}, {9}, {1, 2, 3}, {2, 8}, all} {
		for _, whole := range []bool{false, true} {
			for _, same := range []bool{false, true} {
				t.Run(fmt.Sprintf("refused=%v,whole=%v,same=%v", refused, whole, same), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						sink, dead := newPicky(whole, refused...), outbox.NewMemory("dead")
						sinks := []outbox.Sink{sink, dead}
						if same {
							sinks, dead = sinks[:1], sink.Memory
						}
						o := open(t, outbox.NewWith(outbox.Config{Sinks: sinks, OnReject: outbox.DeadLetter}), toDead)
						o.Push(rows(1, 5), nil)
						o.Push(rows(6, 9), nil)
						drained(t, o)
						o.Push(rows(10, 10), nil)
						drained(t, o)
						kept := slices.DeleteFunc(span(1, 10), func(seq uint64) bool { return slices.Contains(refused, seq) })
						wantSeqs(t, "sink", sink.Rows("out"), kept)
						wantSeqs(t, "dead letters", dead.Rows("dead"), refused)
						if p := o.Published()["picky"]; p.Seq != 10 {
							t.Errorf("published up to %d, want 10", p.Seq)
						}
						if told := o.told(); len(told) > 0 && told[len(told)-1] != nil {
							t.Errorf("the task still believes that %v", told)
						}
						if sink.commits > 40 {
							t.Errorf("it took %d commits", sink.commits)
						}
					})
				})
			}
		}
	}
}

func toDead(ot *stateful.OutboxTask) {
	ot.Topics, ot.DeadLetterTo = []string{"out", "dead"}, "dead"
}

// The dead letter says what it is, and so does the log.
func TestADeadLetterOfAnOutputSaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, dead := newPicky(false, 2), outbox.NewMemory("dead")
		var log bytes.Buffer
		o := open(t, outbox.NewWith(outbox.Config{
			Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}), toDead)
		row := rows(2, 2)
		row[0].Headers, row[0].Time = []stateful.Header{{Key: "a", Value: "1"}}, 77
		o.Push(rows(1, 1), nil)
		o.Push(row, nil)
		drained(t, o)
		got := dead.Rows()[0]
		if string(got.Key) != "k" || string(got.Payload) != "2" || got.Time != 77 {
			t.Errorf("the letter is %+v, want the row's key, payload and time", got)
		}
		want := []stateful.Header{
			{Key: "pondage_sink", Value: "picky"},
			{Key: "pondage_sequence", Value: "2"},
			{Key: "pondage_reason", Value: "never"},
			{Key: "pondage_topic", Value: "out"},
			{Key: "pondage_handler", Value: "clicks"},
			{Key: "pondage_partition", Value: "0"},
			{Key: "a", Value: "1"},
		}
		if !slices.Equal(got.Headers, want) {
			t.Errorf("its headers are\n%v\nwant\n%v", got.Headers, want)
		}
		for _, part := range []string{"sink=picky", "sequence=2", "handler=clicks", "topic=out", "to=dead", "reason=never"} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log does not say %q: %s", part, log.String())
			}
		}
	})
}

// The sink goes on behind a refused row only once its letter is published.
func TestASinkWaitsForTheDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, dead := newPicky(false, 2), newFaulty("dead")
		var down atomic.Bool
		down.Store(true)
		dead.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
			if down.Load() {
				return 0, errDown
			}
			return dead.Memory.Commit(ctx, p, rows)
		}
		o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
		o.Push(rows(1, 3), nil)
		time.Sleep(time.Hour)
		wantSeqs(t, "sink", sink.Rows(), span(1, 1))
		if p := o.Published()["picky"]; p.Seq != 1 {
			t.Errorf("published up to %d, want 1", p.Seq)
		}
		told := o.told()
		if len(told) == 0 {
			t.Fatal("nobody is told that dead letters cannot be published")
		}
		wantText(t, told[len(told)-1], "output 2 was refused (never)", errDown.Error())
		down.Store(false)
		drained(t, o)
		wantSeqs(t, "sink", sink.Rows(), []uint64{1, 3})
		wantSeqs(t, "dead letters", dead.Rows(), span(2, 2))
	})
}

func TestWhatNobodyTakesStopsTheRelay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse func(sink *picky, dead *faulty)
		reason string
	}{
		{"the dead letter is refused too", func(_ *picky, dead *faulty) {
			dead.commit = func(context.Context, stateful.Producer, []stateful.Row) (int, error) {
				return 0, stateful.Permanent(errDown)
			}
		}, errDown.Error()},
		{"the sink is closed", func(sink *picky, _ *faulty) { sink.before = func() error { return stateful.ErrClosed } }, "closed"},
		{"another owner has the sink", func(sink *picky, _ *faulty) {
			sink.before = func() error { return stateful.Permanent(stateful.ErrFenced) }
		}, "fenced"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink, dead := newPicky(false, 2), newFaulty("dead")
				o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
				tt.refuse(sink, dead)
				o.Push(rows(1, 3), nil)
				wantText(t, o.Drained(ctx), tt.reason)
				if got := dead.Rows(); len(got) > 0 {
					t.Errorf("dead letters %v are published", seqs(got))
				}
			})
		})
	}
}

// A sink that breaks its contract refuses nothing; one that reserved has promised.
func TestOnlyRefusalsAreDeadLettered(t *testing.T) {
	t.Run("a count that cannot be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sink, dead := newFaulty(), outbox.NewMemory("dead")
			sink.commit = func(context.Context, stateful.Producer, []stateful.Row) (int, error) { return 7, nil }
			o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
			o.Push(rows(1, 3), nil)
			wantText(t, o.Drained(ctx), "breaks its contract")
			wantSeqs(t, "dead letters", dead.Rows(), nil)
		})
	})
	t.Run("what was reserved", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sink, dead := newBank("bank", "out"), outbox.NewMemory("dead")
			o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
			o.Push(rows(1, 3), []stateful.Prepared{{Sink: "bank", Seq: 3, Handle: []byte("another's")}})
			wantText(t, o.Drained(ctx), "is reserved for")
			wantSeqs(t, "dead letters", dead.Rows(), nil)
		})
	})
}

// The sink of the dead-letter topic may be ahead with other rows of the task.
func TestADeadLetterIsNotTakenForARowThatWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, dead := newPicky(false, 2), outbox.NewMemory("dead")
		o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
		var up atomic.Bool
		sink.before = func() error {
			if up.Load() {
				return nil
			}
			return errDown
		}
		o.Push(append(rows(1, 3), rowsTo("dead", 4, 4)...), nil)
		time.Sleep(time.Hour)
		up.Store(true)
		drained(t, o)
		o.Push(rowsTo("dead", 5, 5), nil)
		drained(t, o)
		wantSeqs(t, "sink", sink.Rows(), []uint64{1, 3})
		wantSeqs(t, "dead letters", dead.Rows(), []uint64{4, 2, 5})
	})
}

// A letter that is too large for its sink says where the output is, without it.
func TestADeadLetterThatIsTooLargeIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, dead := newPicky(false, 1), &small{outbox.NewMemory("dead")}
		o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter}), toDead)
		big := rows(1, 1)
		big[0].Payload = make([]byte, 1000)
		o.Push(big, nil)
		drained(t, o)
		got := dead.Rows()[0]
		if len(got.Payload) != 0 || !strings.Contains(got.Headers[2].Value, "a payload of 1000 bytes") {
			t.Errorf("the letter is %+v", got)
		}
	})
}

type small struct{ *outbox.Memory }

func (small) Check(row *stateful.Row) error {
	if len(row.Payload) > 100 {
		return errors.New("it is too large")
	}
	return nil
}

func TestFaultsOfDeadLetteringAreNamed(t *testing.T) {
	ob := outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{outbox.NewMemory("out")}, OnReject: outbox.DeadLetter})
	_, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: memory.New(), Outbox: ob})
	wantText(t, err, "DeadLetterTo is required")
	_, err = tryOpen(ob, nil)
	wantText(t, err, "stateful.Config.DeadLetterTo")
	_, err = tryOpen(ob, func(ot *stateful.OutboxTask) { ot.DeadLetterTo = "nowhere" })
	wantText(t, err, `no sink takes topic "nowhere"`)
	named := newPicky(false)
	named.name = "a~b"
	wantText(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{named}, OnReject: 7, KeepRows: -1}).Validate(),
		"OnReject is 7", `"a~b"`, "KeepRows is -1")
}

// The process may die around any call of any sink: each output is then there once, or its letter is.
func TestDeadLettersAreTheSameWhereverItDies(t *testing.T) {
	for _, same := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("same=%v,late=%v", same, late), func(t *testing.T) {
				for op := 1; ; op++ {
					died := false
					synctest.Test(t, func(t *testing.T) { died = dieAt(t, op, same, late) })
					if t.Failed() {
						t.Fatalf("at call %d", op)
					}
					if !died {
						if op < 10 {
							t.Errorf("there were only %d calls", op)
						}
						return
					}
				}
			})
		}
	}
}

// dieAt runs until the op-th call of a sink, before or after which the process dies, and then again to the end.
func dieAt(t *testing.T, op int, same, late bool) (died bool) {
	backend := memory.New()
	defer backend.Close()
	var mu sync.Mutex
	calls := 0
	die := func() error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls >= op {
			died = true
			return stateful.ErrClosed // and so does every call from now on
		}
		return nil
	}
	sink, dead := newPicky(true, 2, 3, 6), newPicky(true)
	dead.name, dead.Memory = "dead", outbox.NewMemory("dead")
	run := func(mortal bool) {
		sink.before, dead.before, sink.after, dead.after = nil, nil, nil, nil
		sink.Memory, dead.Memory = sink.Reopen(), dead.Reopen()
		if mortal && late {
			sink.after, dead.after = die, die
		} else if mortal {
			sink.before, dead.before = die, die
		}
		sinks := []outbox.Sink{sink, dead}
		if same {
			sinks = sinks[:1]
		}
		p := processorWith(t, stateful.Config{
			Backend: backend, DeadLetterTo: "dead",
			Outbox: outbox.NewWith(outbox.Config{Sinks: sinks, OnReject: outbox.DeadLetter}),
		})
		for at := int64(0); at < 8; at += 2 {
			if p.Process(ctx, "copier", batch(at, at+2)) != nil && mortal {
				break
			}
			synctest.Wait()
		}
		if mortal {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			p.Close(ended)
		} else if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	run(true)
	run(false)
	run(false)
	letters := dead.Rows("dead")
	if same {
		letters = sink.Rows("dead")
	}
	wantSeqs(t, "sink", sink.Rows("out"), []uint64{1, 4, 5, 7, 8})
	wantSeqs(t, "dead letters", letters, []uint64{2, 3, 6})
	return died
}

// The last row was refused, so the sink's cursor is below it. Nothing was lost, also when dead letters are
// no longer wanted.
func TestARefusedLastRowIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, keep := range []bool{false, true} {
			sink, dead := newPicky(false, 4), outbox.NewMemory("dead")
			config := outbox.Config{Sinks: []outbox.Sink{sink, dead}, OnReject: outbox.DeadLetter, KeepFor: -1}
			if keep {
				config.KeepFor = 0
			}
			var published map[string]stateful.Published
			stored := rows(1, 4)
			reopen := func(epoch uint64, wait bool) {
				o := open(t, outbox.NewWith(config), func(ot *stateful.OutboxTask) {
					toDead(ot)
					ot.Producer.Epoch, ot.NextSeq, ot.Published = epoch, 5, published
					ot.Now = now
					ot.Rows = slices.DeleteFunc(slices.Clone(stored), func(r stateful.Row) bool { return r.Seq <= published["picky"].Trim })
				})
				drained(t, o)
				if wait {
					time.Sleep(time.Hour)
				}
				published = o.Published()
				o.Close()
			}
			reopen(1, false)
			reopen(2, true)
			config.OnReject = outbox.Stop
			reopen(3, false)
			if p := published["picky"]; p != (stateful.Published{Seq: 4, Trim: 4, Refused: 4}) {
				t.Errorf("published is %+v", p)
			}
			wantSeqs(t, "sink", sink.Rows(), span(1, 3))
			wantSeqs(t, "dead letters", dead.Rows(), span(4, 4))
			config.OnReject, config.Sinks = outbox.DeadLetter, []outbox.Sink{sink, outbox.NewMemory("dead")}
			_, err := tryOpen(outbox.NewWith(config), func(ot *stateful.OutboxTask) {
				toDead(ot)
				ot.Producer.Epoch, ot.NextSeq, ot.Published = 4, 5, published
			})
			wantText(t, err, "dead letters of it up to output 0", "lost data")
		}
	})
}
