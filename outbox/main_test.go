package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

var clicks = stateful.Producer{App: "app", Incarnation: 1, Handler: "clicks", Epoch: 1}

// rows returns one row for each sequence in [from, to], to topic "out".
func rows(from, to uint64) []stateful.Row { return rowsTo("out", from, to) }

func rowsTo(topic string, from, to uint64) []stateful.Row {
	var all []stateful.Row
	for seq := from; seq <= to; seq++ {
		all = append(all, stateful.Row{Seq: seq, Topic: topic, Key: []byte("k"), Payload: fmt.Append(nil, seq), Time: stateful.NoTime})
	}
	return all
}

// seqs returns the sequences of rows.
func seqs(rows []stateful.Row) []uint64 {
	var all []uint64
	for i := range rows {
		all = append(all, rows[i].Seq)
	}
	return all
}

func span(from, to uint64) []uint64 { return seqs(rows(from, to)) }

func wantSeqs(t *testing.T, what string, got []stateful.Row, want []uint64) {
	t.Helper()
	if !slices.Equal(seqs(got), want) {
		t.Errorf("%s: published %v, want %v", what, seqs(got), want)
	}
}

// opened is a task's outbox and what the task was told.
type opened struct {
	stateful.TaskOutbox
	mu    sync.Mutex
	fails []error
}

func (o *opened) told() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.fails)
}

// open opens a task whose state knows nothing yet, changed by f, and closes it at the
// test's end.
func open(t *testing.T, ob *outbox.Outbox, f func(*stateful.OutboxTask)) *opened {
	t.Helper()
	o, err := tryOpen(ob, f)
	if err != nil {
		t.Fatalf("open the task: %v", err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("close the task: %v", err)
		}
	})
	return o
}

func tryOpen(ob *outbox.Outbox, f func(*stateful.OutboxTask)) (*opened, error) {
	o := &opened{}
	task := stateful.OutboxTask{Producer: clicks, Topics: []string{"out"}, NextSeq: 1, Failed: func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.fails = append(o.fails, err)
	}}
	if f != nil {
		f(&task)
	}
	to, err := ob.OpenTask(ctx, task)
	o.TaskOutbox = to
	return o, err
}

func drained(t *testing.T, o stateful.TaskOutbox) {
	t.Helper()
	if err := o.Drained(ctx); err != nil {
		t.Fatalf("drain: %v", err)
	}
}

// now is the time of a bubble.
func now() time.Time { return time.Now() }

var errDown = errors.New("the sink is down")

// faulty is a sink whose calls go through a hook first, or instead.
type faulty struct {
	*outbox.Memory
	commit func(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error)
	traits stateful.SinkTraits
}

func newFaulty(topics ...string) *faulty { return &faulty{Memory: outbox.NewMemory(topics...)} }

func (f *faulty) Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (int, error) {
	if f.commit != nil {
		return f.commit(ctx, p, rows)
	}
	return f.Memory.Commit(ctx, p, rows)
}

// hang makes every commit wait until its context ends.
func (f *faulty) hang() {
	f.commit = func(ctx context.Context, _ stateful.Producer, _ []stateful.Row) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	}
}

// without returns a sink that has what m has but for the last n rows: it lost them.
func without(t *testing.T, m *outbox.Memory, n int) *outbox.Memory {
	t.Helper()
	left, p := outbox.NewMemory(), stateful.Producer{App: "app", Incarnation: 1, Handler: "copier"}
	all := m.Rows()
	if _, err := left.Commit(ctx, p, all[:len(all)-n]); err != nil {
		t.Fatal(err)
	}
	return left
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %v, want %q in it", err, part)
		}
	}
}

func (f *faulty) Traits() stateful.SinkTraits {
	if f.traits.Name != "" {
		return f.traits
	}
	return f.Memory.Traits()
}
