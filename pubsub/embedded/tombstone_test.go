package embedded_test

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
	inprocess "github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
)

// latest keeps the last value of each key, and passes on what it is given.
type latest struct{}

func (latest) HandlerName() string { return "latest" }
func (latest) Inputs() []string    { return []string{"in"} }
func (latest) Outputs() []string   { return []string{"out"} }
func (latest) Process(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if rec.Value == nil {
		tx.Delete(string(rec.Key))
	} else {
		tx.Put(string(rec.Key), rec.Value)
	}
	return tx.Emit(stateful.Row{Topic: "out", Key: rec.Key, Payload: rec.Value, Time: rec.Time})
}

// A record without a value is a tombstone, and one with an empty value is none: from the log through state, rows, a handler of
// Watermill messages and the log again, to who subscribes.
func TestTombstonesStayTombstones(t *testing.T) {
	forward := handlers.Func{
		Name: "forward", From: "out", To: "end",
		Handle: func(m *message.Message) ([]*message.Message, error) {
			return []*message.Message{m.Copy()}, nil
		},
	}
	for _, joined := range []bool{true, false} {
		l := withTopic(t)
		var b stateful.Backend = inprocess.New()
		if joined {
			pb, err := pebble.New(ctx, pebble.Config{DB: l.DB()})
			require.NoError(t, err)
			b = pb
		}
		defer b.Close()
		require.NoError(t, l.CreateTopic("in", 1))
		require.NoError(t, l.CreateTopic("end", 1))
		require.NoError(t, l.Append(ctx, "in",
			stateful.Record{Key: []byte("a"), Value: []byte("1"), Time: 1}, stateful.Record{Key: []byte("a"), Time: 2},
			stateful.Record{Key: []byte("b"), Value: []byte("1"), Time: 3}, stateful.Record{Key: []byte("b"), Value: []byte{}, Time: 4},
		))
		want := [][]byte{[]byte("1"), nil, []byte("1"), {}}

		processor := func() *stateful.Processor {
			p, err := stateful.NewProcessor(stateful.Config{App: "app", Backend: b, Outbox: outbox.New(l.Sink())})
			require.NoError(t, err)
			require.NoError(t, p.AddTo(nil, latest{}, forward))
			return p
		}
		p := processor()
		read := func(topic string) (recs []stateful.Record) {
			for r, err := range l.Read(topic, 0, 0) {
				require.NoError(t, err)
				r.Value = append(r.Value[:0:0], r.Value...)
				recs = append(recs, r)
			}
			require.Len(t, recs, len(want))
			for i := range recs {
				require.Equal(t, want[i], recs[i].Value, "value %d of %q", i, topic)
			}
			return recs
		}
		require.NoError(t, p.Process(ctx, "latest", stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Log: "log", End: 4, Records: read("in")}))
		require.NoError(t, p.Close(ctx)) // what it emits is published then
		p = processor()
		require.NoError(t, p.Process(ctx, "forward", stateful.Batch{Partition: stateful.Partition{Topic: "out"}, Log: "log", End: 4, Records: read("out")}))
		require.NoError(t, p.Close(ctx))
		read("end")

		s, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "latest"})
		require.NoError(t, err)
		state := map[string]string{}
		for e, err := range s.Scan(ctx, "u", "v") {
			require.NoError(t, err)
			state[e.Key] = string(e.Value)
		}
		require.Equal(t, map[string]string{"ub": ""}, state)
		require.NoError(t, s.Close())

		sub, err := l.Subscriber(embedded.SubscriberConfig{Group: "g"})
		require.NoError(t, err)
		msgs, err := sub.Subscribe(ctx, "end")
		require.NoError(t, err)
		for i := range want {
			m := receive(t, msgs)
			require.Equal(t, want[i], []byte(m.Payload), "payload %d", i)
			m.Ack()
		}
		require.NoError(t, sub.Close())
	}
}
