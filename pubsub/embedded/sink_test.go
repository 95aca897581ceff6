package embedded_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/outbox/outboxtest"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
	inprocess "github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestSinkKeepsTheContract(t *testing.T) {
	outboxtest.TestSink(t, func(t *testing.T) outboxtest.Subject {
		fs := vfs.NewMem()
		var l *embedded.Log
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		return outboxtest.Subject{
			Topic: "out",
			Open: func(t *testing.T) outbox.Sink {
				if l != nil {
					require.NoError(t, l.Close())
				}
				l = onFS(t, fs, embedded.Config{Partitions: 1, MaxRecordBytes: 100})
				require.NoError(t, l.CreateTopic("out", 0))
				return l.Sink()
			},
			Published: func(t *testing.T) []string { return values(t, l, "out", 0) },
			TooLarge:  func() stateful.Row { return stateful.Row{Topic: "out", Payload: make([]byte, 101)} },
		}
	})
}

// adder emits the running sum of each input.
type adder struct{}

func (adder) HandlerName() string { return "adder" }
func (adder) Inputs() []string    { return []string{"in"} }
func (adder) Outputs() []string   { return []string{"out"} }
func (adder) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	old, err := tx.Get(ctx, "sum")
	if err != nil {
		return err
	}
	sum := rec.Offset
	if old != nil {
		var n int64
		fmt.Sscan(string(old), &n)
		sum += n
	}
	tx.Put("sum", fmt.Append(nil, sum))
	return tx.Emit(stateful.Row{Topic: "out", Key: []byte("k"), Payload: fmt.Append(nil, sum), Time: rec.Time})
}

func process(t *testing.T, p *stateful.Processor, from, to int64) error {
	t.Helper()
	b := stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Log: "log", Start: from, End: to}
	for i := from; i < to; i++ {
		b.Records = append(b.Records, stateful.Record{Offset: i, Time: i})
	}
	return p.Process(ctx, "adder", b)
}

func newAdder(t *testing.T, b stateful.Backend, sink outbox.Sink) *stateful.Processor {
	t.Helper()
	p, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: b, Outbox: outbox.New(sink)})
	require.NoError(t, err)
	require.NoError(t, p.AddTo(nil, adder{}))
	return p
}

func sums(n int) []string {
	var all []string
	for i, sum := 0, 0; i < n; i++ {
		sum += i
		all = append(all, fmt.Sprint(sum))
	}
	return all
}

// K8: state on the log's database, state in memory, commits that fail before and
// after they take effect, and a new processor now and then: the log has
// each output once, in order.
func TestOutputsReachTheLogOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		joined bool
		share  float64
	}{
		{"joined", true, 0},
		{"joined, with lost answers", true, 0.3},
		{"relayed", false, 0},
		{"relayed, with lost answers", false, 0.3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := withTopic(t)
			var b stateful.Backend = inprocess.New()
			if tt.joined {
				pb, err := pebble.New(ctx, pebble.Config{DB: l.DB()})
				require.NoError(t, err)
				b = pb
			}
			defer b.Close()
			b = statefultest.Faulty(b, 1, tt.share)
			for at := int64(0); at < 20; {
				p := newAdder(t, b, l.Sink())
				for range 3 {
					if at < 20 && process(t, p, at, at+2) == nil {
						at += 2
					}
				}
				err := p.Close(ctx)
				if tt.share == 0 {
					require.NoError(t, err)
				}
				if tt.joined {
					noRowStored(t, b)
				}
			}
			for tries := 0; len(values(t, l, "out", 0)) < 20; tries++ {
				require.Less(t, tries, 100, "what is stored is never published")
				p := newAdder(t, b, l.Sink())
				process(t, p, 0, 20) // opens the task; it has seen them
				p.Close(ctx)
			}
			require.Equal(t, sums(20), values(t, l, "out", 0))
		})
	}
}

func withTopic(t *testing.T) *embedded.Log {
	t.Helper()
	l, err := embedded.OpenMemory(embedded.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.CreateTopic("out", 1))
	return l
}

// noRowStored checks that outputs took no part in the state.
func noRowStored(t *testing.T, b stateful.Backend) {
	t.Helper()
	s, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "adder"})
	require.NoError(t, err)
	for e, err := range s.Scan(ctx, "o", "p") {
		require.NoError(t, err)
		require.Fail(t, "a joined row is stored", "%x", e.Key)
	}
	require.NoError(t, s.Close())
}

// K2: rows that were stored, because state and log had two databases, are in the
// log before any that is appended with the state.
func TestStoredOutputsComeBeforeJoinedOnes(t *testing.T) {
	l := withTopic(t)
	b, err := pebble.New(ctx, pebble.Config{DB: l.DB()})
	require.NoError(t, err)
	defer b.Close()
	p := newAdder(t, hidden{b}, stuck{l.Sink()})
	require.NoError(t, process(t, p, 0, 3))
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	p.Close(stopped)
	require.Empty(t, values(t, l, "out", 0))

	p = newAdder(t, b, l.Sink())
	require.NoError(t, process(t, p, 3, 5))
	require.NoError(t, p.Close(ctx))
	require.Equal(t, sums(5), values(t, l, "out", 0))
}

// hidden is a backend nobody can join.
type hidden struct{ stateful.Backend }

func (h hidden) Open(ctx context.Context, id stateful.TaskID) (stateful.Store, stateful.Head, error) {
	s, head, err := h.Backend.Open(ctx, id)
	return struct{ stateful.Store }{s}, head, err
}

// stuck is a sink that does not get on.
type stuck struct{ outbox.Sink }

func (stuck) Commit(ctx context.Context, _ stateful.Producer, _ []stateful.Row) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
