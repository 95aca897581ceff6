package outbox_test

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// recorder is a Watermill publisher that keeps what it is given.
type recorder struct {
	mu     sync.Mutex
	topics []string // of each Publish
	msgs   []*message.Message
	err    func(topic string) error
	closed bool
}

func (r *recorder) Publish(topic string, msgs ...*message.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		if err := r.err(topic); err != nil {
			return err
		}
	}
	r.topics = append(r.topics, topic)
	r.msgs = append(r.msgs, msgs...)
	return nil
}

func (r *recorder) Close() error { r.closed = true; return nil }

func TestPublisherMakesMessagesOfRows(t *testing.T) {
	rec := &recorder{}
	sink := outbox.Publisher(rec, outbox.PublisherConfig{})
	in := []stateful.Row{
		{Seq: 1, Topic: "a", Key: []byte("ana"), Payload: []byte("1"), Time: 1_700_000_000_123, Headers: []stateful.Header{{Key: "h", Value: "x"}, {Key: "h", Value: "y"}}},
		{Seq: 2, Topic: "a", Payload: []byte("2"), Time: stateful.NoTime},
		{Seq: 3, Topic: "b", Payload: []byte("3"), Time: stateful.NoTime},
	}
	n, err := sink.Commit(ctx, clicks, in)
	if n != 3 || err != nil {
		t.Fatalf("Commit returned %d, %v", n, err)
	}
	if want := []string{"a", "b"}; !slices.Equal(rec.topics, want) {
		t.Errorf("published to %q, want one Publish for each run of a topic: %q", rec.topics, want)
	}
	want := message.Metadata{"pondage_key": "ana", "pondage_time": "2023-11-14T22:13:20.123Z", "h": "y"}
	if got := rec.msgs[0].Metadata; !maps.Equal(got, want) {
		t.Errorf("metadata %v, want %v", got, want)
	}
	if got := rec.msgs[1].Metadata; len(got) != 0 {
		t.Errorf("metadata %v of a row that has neither key, time nor headers", got)
	}
	in[0].Payload[0] = '9'
	if got := string(rec.msgs[0].Payload); got != "1" {
		t.Errorf("the message shares its payload with the row: %q", got)
	}
	if err := sink.Close(); err != nil || rec.closed {
		t.Errorf("Close returned %v, and closed the publisher it was given: %v", err, rec.closed)
	}
	if _, err := sink.Commit(ctx, clicks, in); !errors.Is(err, stateful.ErrClosed) {
		t.Errorf("Commit after Close returned %v", err)
	}
}

func TestPublisherGivesARowTheSameIDEveryTimeAndNoOtherRowTheSame(t *testing.T) {
	first := func(p stateful.Producer, run string, seq uint64) string {
		rec := &recorder{}
		p.Run = run
		if _, err := outbox.Publisher(rec, outbox.PublisherConfig{}).Commit(ctx, p, rows(seq, seq)); err != nil {
			t.Fatal(err)
		}
		return rec.msgs[0].UUID
	}
	again := clicks
	again.Epoch = 9
	id := first(clicks, "", 1)
	if first(again, "", 1) != id {
		t.Error("another owner gave the row another id")
	}
	if u, err := uuid.Parse(id); err != nil || u.Version() != 8 || u.Variant() != uuid.RFC4122 {
		t.Errorf("%q is no UUID of version 8: %v", id, err)
	}
	seen := map[string]string{id: "the first"}
	for name, other := range map[string]string{
		"the next sequence":     first(clicks, "", 2),
		"a far sequence":        first(clicks, "", 1<<40),
		"another app":           first(stateful.Producer{App: "app2", Incarnation: 1, Handler: "clicks"}, "", 1),
		"another handler":       first(stateful.Producer{App: "app", Incarnation: 1, Handler: "click"}, "", 1),
		"a border that moved":   first(stateful.Producer{App: "appc", Incarnation: 1, Handler: "licks"}, "", 1),
		"another partition":     first(stateful.Producer{App: "app", Incarnation: 1, Handler: "clicks", Partition: 1}, "", 1),
		"a higher incarnation":  first(stateful.Producer{App: "app", Incarnation: 2, Handler: "clicks"}, "", 1),
		"another run":           first(clicks, "2", 1),
		"a run like the others": first(clicks, "clicks", 1),
	} {
		if was, ok := seen[other]; ok {
			t.Errorf("%s has the id of %s", name, was)
		}
		seen[other] = name
	}
}

// lasting is a backend whose state survives the process.
type lasting struct{ stateful.Backend }

func (lasting) Domain() stateful.Domain { return stateful.DomainMachine }

// T8: state in memory that begins anew gives other outputs under the same sequences; a receiver must not take them for the old ones.
func TestOutputsOfStateThatBeganAnewHaveOtherIDs(t *testing.T) {
	first := func(b stateful.Backend) string {
		t.Helper()
		rec := &recorder{}
		p := processor(t, b, outbox.Publisher(rec, outbox.PublisherConfig{}), 1)
		if err := p.Process(ctx, "copier", batch(0, 1)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		return rec.msgs[0].UUID
	}
	if a, b := first(memory.New()), first(memory.New()); a == b {
		t.Error("the outputs of two memories have one id")
	}
	if a, b := first(lasting{memory.New()}), first(lasting{memory.New()}); a != b {
		t.Error("an output has two ids although its state survives the process")
	}
	type stateless struct{ stateful.Backend } // it does not say when it begins anew
	if a, b := first(stateless{memory.New()}), first(stateless{memory.New()}); a != b {
		t.Error("the output of one process has two ids")
	}
	if first(stateless{memory.New()}) == first(lasting{memory.New()}) {
		t.Error("the output of state that dies with the process has the same id in each")
	}
}

// A row that is published again by the next owner of the same state has the id it had.
func TestARowOfOneMemoryKeepsItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, tried := memory.New(), ""
		p := processor(t, b, outbox.Publisher(publishing(func(m *message.Message) error { tried = m.UUID; return errDown }), outbox.PublisherConfig{}), 1)
		if err := p.Process(ctx, "copier", batch(0, 1)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		rec := &recorder{}
		p = processor(t, b, outbox.Publisher(rec, outbox.PublisherConfig{}), 1)
		if err := p.Process(ctx, "copier", batch(1, 2)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if got := rec.msgs[0].UUID; got != tried {
			t.Errorf("it was published as %s, and tried as %s", got, tried)
		}
	})
}

// publishing is a publisher.
type publishing func(*message.Message) error

func (f publishing) Publish(_ string, msgs ...*message.Message) error { return f(msgs[0]) }
func (publishing) Close() error                                       { return nil }

func TestPublisherSaysWhatWasPublishedBeforeItFailed(t *testing.T) {
	rec := &recorder{err: func(topic string) error {
		if topic == "b" {
			return errDown
		}
		return nil
	}}
	n, err := outbox.Publisher(rec, outbox.PublisherConfig{}).Commit(ctx, clicks, append(rowsTo("a", 1, 2), rowsTo("b", 3, 4)...))
	if n != 2 || !errors.Is(err, errDown) {
		t.Errorf("Commit returned %d, %v, want 2 and the publisher's error", n, err)
	}
}

// K4: a payload that could never be published is the record's failure, at emit.
func TestPublisherChecksSize(t *testing.T) {
	sink := outbox.Publisher(&recorder{}, outbox.PublisherConfig{MaxBytes: 3})
	if err := sink.Check(&stateful.Row{Payload: []byte("123")}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := sink.Check(&stateful.Row{Payload: []byte("1234")}); err == nil {
		t.Error("a larger payload is taken")
	}
	if err := outbox.Publisher(nil, outbox.PublisherConfig{}).Check(&stateful.Row{}); err == nil {
		t.Error("no publisher, no complaint")
	}
}

func TestPublisherThatBlocksOrPanicsDoesNotHoldTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, calls := make(chan struct{}), 0
		rec := &recorder{err: func(string) error {
			if calls++; calls == 1 {
				panic("out of paper")
			}
			<-gate
			return nil
		}}
		o := open(t, outbox.New(outbox.Publisher(rec, outbox.PublisherConfig{Topics: []string{"out"}, KeyTo: "k", FIFO: true})), nil)
		o.Push(rows(1, 1), nil)
		<-time.After(time.Minute)
		if told := o.told(); len(told) != 1 {
			t.Errorf("the task was told %v, want the panic", told)
		}
		o.Close()
		close(gate)
	})
}

func BenchmarkPublisher(b *testing.B) {
	sink := outbox.Publisher(nothing{}, outbox.PublisherConfig{})
	all := rows(1, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sink.Commit(ctx, clicks, all); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
}

type nothing struct{}

func (nothing) Publish(string, ...*message.Message) error { return nil }
func (nothing) Close() error                              { return nil }
