package outbox_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

// has returns a sink that took rows up to seq from clicks, and forgot below.
func has(t *testing.T, seq uint64) *outbox.Memory {
	t.Helper()
	m := outbox.NewMemory()
	if seq > 0 {
		if _, err := m.Commit(ctx, clicks, rows(seq, seq)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestOpenGoesOnWhereTheSinkIs(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cursor    uint64
		published uint64
		trimmed   uint64
		stored    []stateful.Row
		next      uint64
		raised    bool
		want      []uint64
		refused   string
	}{
		{name: "a new task has nothing to publish", next: 1},
		{name: "all that is stored is published when the sink has nothing", stored: rows(1, 3), next: 4, want: span(1, 3)},
		{name: "what the sink has is not published again", cursor: 2, stored: rows(1, 4), next: 5, want: span(2, 4)},
		{name: "the sink's cursor counts, not what the state remembers of it", cursor: 3, published: 1, trimmed: 1, stored: rows(2, 4), next: 5, want: span(3, 4)},
		{name: "the sink may have all", cursor: 4, stored: rows(1, 4), next: 5, want: span(4, 4)},
		{name: "a state older than the sink is refused", cursor: 5, stored: rows(1, 4), next: 5, refused: "older than the sink"},
		{name: "an empty state under a sink with rows is refused", cursor: 1, next: 1, refused: "raise Config.Incarnation"},
		{name: "a sink that lost what the state no longer keeps is refused", cursor: 2, published: 3, trimmed: 3, stored: rows(4, 4), next: 5, refused: "lost data"},
		{name: "a sink that lost more than the state keeps is refused", cursor: 1, published: 4, trimmed: 2, stored: rows(3, 4), next: 5, refused: "keeps only those above 2"},
		{name: "what a sink lost and the state keeps is published again", cursor: 2, published: 4, trimmed: 2, stored: rows(3, 5), next: 6, want: span(2, 5)},
		{name: "also to a sink that lost all", cursor: 0, published: 2, trimmed: 0, stored: rows(1, 3), next: 4, want: span(1, 3)},
		{name: "what is kept and was not lost is not published again", cursor: 4, published: 4, trimmed: 1, stored: rows(2, 5), next: 6, want: span(4, 5)},
		{name: "after the incarnation was raised only what was not published is", raised: true, published: 3, trimmed: 1, stored: rows(2, 4), next: 5, want: span(4, 4)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := &faulty{Memory: has(t, tt.cursor)}
			sink.commit = func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
				if rows[0].Seq <= tt.cursor {
					t.Errorf("row %d is published again, and the sink has it", rows[0].Seq)
				}
				return sink.Memory.Commit(ctx, p, rows)
			}
			o, err := tryOpen(outbox.New(sink), func(ot *stateful.OutboxTask) {
				ot.Producer.Epoch = 2
				ot.Rows, ot.NextSeq, ot.Raised = tt.stored, tt.next, tt.raised
				ot.Published = map[string]stateful.Published{"memory": {Seq: tt.published, Trim: tt.trimmed}, "gone": {Seq: 7, Trim: 7}}
			})
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("OpenTask returned %v, want an error with %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			drained(t, o)
			wantSeqs(t, "sink", sink.Rows(), tt.want)
			if p := o.Published(); len(tt.want) > 0 && p["memory"].Seq != tt.next-1 || p["gone"].Seq != 7 {
				t.Errorf("Published = %v, want %d, and what is known of another sink", p, tt.next-1)
			}
			if o.Progress() == 0 {
				t.Error("Progress is 0, so the task would not learn what the sink already has")
			}
			if _, err := sink.Commit(ctx, clicks, rows(tt.next, tt.next)); !errors.Is(err, stateful.ErrFenced) {
				t.Errorf("the owner before got %v, want ErrFenced", err)
			}
		})
	}
}

// The incarnation was raised, nothing was published since, and the state is
// of the new incarnation: that is no loss.
func TestOpenAfterARaiseThatPublishedNothing(t *testing.T) {
	sink := has(t, 3)
	task := func(ot *stateful.OutboxTask) {
		ot.Producer.Incarnation, ot.NextSeq = 2, 5
		ot.Rows, ot.Published = rows(2, 3), map[string]stateful.Published{"memory": {Seq: 3, Trim: 1}}
		ot.Raised = true
	}
	o := open(t, outbox.New(sink), task)
	published := o.Published()
	o.Close()
	open(t, outbox.New(sink), func(ot *stateful.OutboxTask) {
		task(ot)
		ot.Producer.Epoch, ot.Raised, ot.Published = 2, false, published
	})
}

func TestSinkWithoutCursorGoesOnWhereTheStateIs(t *testing.T) {
	sink := newFaulty()
	sink.traits = stateful.SinkTraits{Name: "plain"}
	o := open(t, outbox.New(sink), func(ot *stateful.OutboxTask) {
		ot.Rows, ot.NextSeq, ot.Published = rows(2, 5), 6, map[string]stateful.Published{"plain": {Seq: 3, Trim: 3}}
	})
	drained(t, o)
	wantSeqs(t, "sink", sink.Rows(), span(4, 5))
}

func TestOpenRefusesWhatHasNoSinkAnyMore(t *testing.T) {
	_, err := tryOpen(outbox.New(outbox.NewMemory("out")), func(ot *stateful.OutboxTask) {
		ot.Rows, ot.NextSeq = rowsTo("old", 1, 1), 2
		ot.Prepared = []stateful.Prepared{{Sink: "bank", Seq: 1}}
	})
	if err == nil || !strings.Contains(err.Error(), `"old"`) || !strings.Contains(err.Error(), `"bank"`) {
		t.Errorf("OpenTask returned %v, want both named", err)
	}
}

func TestOutputsGoToTheSinkThatNamesTheirTopic(t *testing.T) {
	named, rest := outbox.NewMemory("a", "b"), outbox.NewMemory()
	ob := outbox.New(named, rest)
	o := open(t, ob, func(ot *stateful.OutboxTask) { ot.Topics = []string{"a", "b", "c"} })
	all := append(append(rowsTo("a", 1, 2), rowsTo("c", 3, 3)...), append(rowsTo("b", 4, 4), rowsTo("a", 5, 5)...)...)
	parts, left := o.Join(all)
	if len(parts) != 0 || len(left) != len(all) {
		t.Errorf("Join kept %d rows and joined %d, want all stored", len(left), len(parts))
	}
	o.Push(left, nil)
	drained(t, o)
	wantSeqs(t, "named", named.Rows(), []uint64{1, 2, 4, 5})
	wantSeqs(t, "rest", rest.Rows(), []uint64{3})
	if want := map[string]stateful.Published{"memory:a:b": {Seq: 5}, "memory": {Seq: 3}}; !maps.Equal(o.Published(), want) {
		t.Errorf("Published = %v, want %v", o.Published(), want)
	}
	if got := ob.SinkTraits("b").Name; got != "memory:a:b" {
		t.Errorf("SinkTraits(b) is of %q", got)
	}
}

func TestRowOfAnUndeclaredTopicIsRefusedBeforeTheCommit(t *testing.T) {
	o := open(t, outbox.New(outbox.NewMemory("out"), outbox.NewMemory()), nil)
	_, rest := o.Join(rowsTo("other", 1, 1))
	if _, err := o.Prepare(ctx, rest); err == nil || !strings.Contains(err.Error(), "did not declare") {
		t.Errorf("Prepare returned %v", err)
	}
}

func TestFaultsOfTheConfigurationAreNamedAllAtOnce(t *testing.T) {
	db := new(int)
	ob := outbox.NewWith(outbox.Config{
		Sinks: []outbox.Sink{
			outbox.NewMemory("a"), outbox.NewMemory("a"), outbox.Discard(),
			swallow{},
			nil, &faulty{Memory: outbox.NewMemory("x")},
			joiner{Memory: outbox.NewMemory("j1"), db: db},
			joiner{Memory: outbox.NewMemory("j2"), db: db},
		},
		BatchRows: -1, RetryBase: -1,
	})
	err := ob.Validate()
	for _, want := range []string{
		"BatchRows is -1", "RetryBase is -1", `two sinks are named "memory:a"`, `topic "a" is named by`, `"discard" and "swallow" both take every topic`,
		"sink 5 is nil", `"memory:j1" and "memory:j2" write to one database`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the faults do not say %q:\n%v", want, err)
		}
	}
	if got := ob.Accepts("a"); !errors.Is(got, err) {
		t.Errorf("Accepts returned %v, want all faults", got)
	}
	if err := outbox.New().Accepts("a"); err == nil {
		t.Error("an outbox without sinks accepts a topic")
	}
	err = outbox.New(outbox.NewMemory("a")).Accepts("b")
	if err == nil || !strings.Contains(err.Error(), "a (memory:a)") {
		t.Errorf("Accepts of a topic without a sink returned %v, want what there is", err)
	}
}

func TestCheckAsksTheSinkOfTheTopic(t *testing.T) {
	ob := outbox.New(outbox.NewMemory("a"), refuser{swallow{}})
	if err := ob.Check(&stateful.Row{Topic: "a"}); err != nil {
		t.Errorf("topic a: %v", err)
	}
	if err := ob.Check(&stateful.Row{Topic: "b"}); !errors.Is(err, errDown) {
		t.Errorf("topic b: %v", err)
	}
}

type refuser struct{ swallow }

func (refuser) Check(*stateful.Row) error { return errDown }

func TestDiscardedRowsAreNeitherStoredNorRelayed(t *testing.T) {
	mem := outbox.NewMemory("out")
	o := open(t, outbox.New(mem, outbox.Discard()), func(ot *stateful.OutboxTask) {
		ot.Topics = []string{"out", "void"}
		ot.Rows, ot.NextSeq = rowsTo("void", 1, 2), 3 // of a time when it had a sink
	})
	if got := o.Published()["discard"].Trim; got != 2 {
		t.Errorf("Published = %d, want 2, so that the state forgets them", got)
	}
	_, rest := o.Join(append(rowsTo("void", 3, 3), append(rows(4, 4), rowsTo("void", 5, 5)...)...))
	wantSeqs(t, "Join left", rest, []uint64{4})
	o.Push(rest, nil)
	drained(t, o)
	wantSeqs(t, "sink", mem.Rows(), []uint64{4})
}

func TestOutboxClosesItsSinksOnce(t *testing.T) {
	m := outbox.NewMemory()
	ob := outbox.New(m)
	for range 2 {
		if err := ob.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Recover(ctx, clicks, nil); !errors.Is(err, stateful.ErrClosed) {
		t.Errorf("the sink returned %v, want ErrClosed", err)
	}
}

func TestOutboxStopsRelaysOfTasksThatWereNotClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newFaulty()
		sink.commit = func(ctx context.Context, _ stateful.Producer, _ []stateful.Row) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		ob := outbox.New(sink)
		o := open(t, ob, nil)
		o.Push(rows(1, 1), nil)
		if err := ob.Close(); err != nil {
			t.Error(err)
		}
		if err := o.Room(ctx); !errors.Is(err, stateful.ErrClosed) {
			t.Errorf("Room returned %v", err)
		}
	})
}

// joiner is a sink on a database.
type joiner struct {
	*outbox.Memory
	db any
}

func (j joiner) Database() any { return j.db }

func (j joiner) Join(p stateful.Producer, rows []stateful.Row) stateful.Joined {
	return &joinedRows{j: j, p: p, rows: rows}
}

type joinedRows struct {
	j    joiner
	p    stateful.Producer
	rows []stateful.Row
}

func (r *joinedRows) Join(stateful.BatchWriter) error { return nil }
func (r *joinedRows) Applied(error)                   {}
func (r *joinedRows) Durable(err error) {
	if err == nil {
		r.j.Commit(ctx, r.p, r.rows)
	}
}

// store is one on a database; nothing else is asked of it.
type store struct {
	stateful.Store
	db any
}

func (s store) CanJoin(db any) bool { return s.db == db }

func TestJoinedRowsNeverMeetTheRelay(t *testing.T) {
	db := new(int)
	sink := joiner{outbox.NewMemory("out"), db}
	other := outbox.NewMemory()
	o := open(t, outbox.New(sink, other), func(ot *stateful.OutboxTask) {
		ot.Store, ot.Topics = store{db: db}, []string{"out", "other"}
	})
	parts, rest := o.Join(append(append(rows(1, 2), rowsTo("other", 3, 3)...), rows(4, 4)...))
	if len(parts) != 1 {
		t.Fatalf("%d parts joined, want one for the sink", len(parts))
	}
	wantSeqs(t, "Join left", rest, []uint64{3})
	o.Push(rest, nil)
	drained(t, o)
	wantSeqs(t, "before the commit", sink.Rows(), nil)
	parts[0].Durable(nil)
	wantSeqs(t, "sink", sink.Rows(), []uint64{1, 2, 4})
	wantSeqs(t, "other", other.Rows(), []uint64{3})
}

// Rows that were stored when the sink could not join are published before any
// that joins, else the cursor would pass over them.
func TestStoredRowsComeBeforeJoinedOnes(t *testing.T) {
	db := new(int)
	sink := joiner{outbox.NewMemory("out"), db}
	o := open(t, outbox.New(sink), func(ot *stateful.OutboxTask) {
		ot.Store, ot.Rows, ot.NextSeq = store{db: db}, rows(1, 3), 4
	})
	wantSeqs(t, "sink after opening", sink.Rows(), span(1, 3))
	if got := o.Published()["memory:out"].Trim; got != 3 {
		t.Errorf("Published = %d, want 3", got)
	}
	other, rest := open(t, outbox.New(joiner{outbox.NewMemory(), db}), func(ot *stateful.OutboxTask) { ot.Store = store{db: new(int)} }).Join(rows(1, 1))
	if len(other) != 0 || len(rest) != 1 {
		t.Error("rows joined a store on another database")
	}
}

func TestPreparingSinks(t *testing.T) {
	t.Run("what was prepared together is committed together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sink := newBank("bank", "out")
			o := open(t, outbox.NewWith(outbox.Config{Sinks: []outbox.Sink{sink}, BatchRows: 2}), nil)
			for _, r := range [][]stateful.Row{rows(1, 3), rows(4, 4)} {
				_, rest := o.Join(r)
				p, err := o.Prepare(ctx, rest)
				if err != nil || len(p) != 1 || p[0].Seq != r[len(r)-1].Seq || p[0].Handle == nil {
					t.Fatalf("Prepare returned %v, %v", p, err)
				}
				o.Push(rest, p)
			}
			drained(t, o)
			wantSeqs(t, "bank", sink.Rows(), span(1, 4))
			if len(sink.reserved) != 0 || sink.commits != 2 {
				t.Errorf("%d reserved after %d commits", len(sink.reserved), sink.commits)
			}
		})
	})
	t.Run("when one cannot prepare the others are aborted", func(t *testing.T) {
		one, two := newBank("one", "a"), newBank("two", "b")
		two.err = errDown
		o := open(t, outbox.New(one, two), func(ot *stateful.OutboxTask) { ot.Topics = []string{"a", "b"} })
		if _, err := o.Prepare(ctx, append(rowsTo("a", 1, 1), rowsTo("b", 2, 2)...)); !errors.Is(err, errDown) {
			t.Errorf("Prepare returned %v", err)
		}
		if len(one.reserved) != 0 {
			t.Error("the first sink keeps what it reserved")
		}
	})
	t.Run("a crash between the commit and its publication publishes once", func(t *testing.T) {
		sink := newBank("bank", "out")
		decided, err := sink.Prepare(ctx, clicks, rows(1, 2))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Prepare(ctx, clicks, rows(3, 3)); err != nil { // its commit never was
			t.Fatal(err)
		}
		for epoch := range uint64(2) {
			o := open(t, outbox.New(sink), func(ot *stateful.OutboxTask) {
				ot.Producer.Epoch = 2 + epoch
				ot.Rows, ot.NextSeq = rows(1, 2), 3
				ot.Prepared = []stateful.Prepared{{Sink: "bank", Seq: 2, Handle: decided}}
			})
			drained(t, o)
			o.Close()
		}
		wantSeqs(t, "bank", sink.Rows(), span(1, 2))
		if len(sink.reserved) != 0 {
			t.Error("what was prepared and never decided is still reserved")
		}
	})
	t.Run("Abort gives up", func(t *testing.T) {
		sink := newBank("bank", "out")
		o := open(t, outbox.New(sink), nil)
		p, err := o.Prepare(ctx, rows(1, 1))
		if err != nil {
			t.Fatal(err)
		}
		o.Abort(ctx, p)
		if len(sink.reserved) != 0 {
			t.Error("it is still reserved")
		}
	})
}

func TestOpenEndsWithItsContext(t *testing.T) {
	some, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := outbox.New(outbox.NewMemory()).OpenTask(some, stateful.OutboxTask{Producer: clicks, Topics: []string{"out"}, NextSeq: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenTask returned %v", err)
	}
}
