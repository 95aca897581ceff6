package embedded_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

// owner gives out fixed positions and notes what it is told.
type owner struct {
	mu        sync.Mutex
	positions map[stateful.Partition]stateful.Position
	assigned  [][]stateful.Partition
	revoked   [][]stateful.Partition
}

func (o *owner) Assigned(_ context.Context, ps []stateful.Partition) (map[stateful.Partition]stateful.Position, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.assigned = append(o.assigned, ps)
	return o.positions, nil
}

func (o *owner) Revoked(_ context.Context, ps []stateful.Partition) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.revoked = append(o.revoked, ps)
	return nil
}

func at(topic string, index int32, log string, offset int64) map[stateful.Partition]stateful.Position {
	return map[stateful.Partition]stateful.Position{{Topic: topic, Index: index}: {Log: log, Offset: offset}}
}

func attach(t testing.TB, l *embedded.Log, o *owner, topic string) (<-chan *message.Message, *embedded.Attached) {
	t.Helper()
	s, err := l.Attach("app.h", []string{topic}, o)
	require.NoError(t, err)
	a := s.(*embedded.Attached)
	ch, err := a.SubscribeBatches(t.Context(), topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return ch, a
}

func batch(t testing.TB, m *message.Message) *stateful.Batch {
	t.Helper()
	b, ok := stateful.BatchFrom(m.Context())
	require.True(t, ok)
	require.Equal(t, fmt.Sprint(len(b.Records)), m.Metadata[stateful.EnvelopeKey])
	return b
}

func span(b *stateful.Batch) string { return fmt.Sprintf("[%d,%d)", b.Start, b.End) }

func small() embedded.Config {
	return embedded.Config{Partitions: 1, BatchRecords: 10, MaxBatchRecords: 10, RetryBase: time.Millisecond, RetryMax: time.Millisecond}
}

func TestBatchesAreContiguousAndOrdered(t *testing.T) {
	l := memory(t, embedded.Config{Partitions: 3, BatchRecords: 7, MaxBatchRecords: 50})
	next := map[int32]int64{}
	for i := range 20 {
		rs := recs(i*50, i*50+50)
		for j := range rs {
			rs[j].Key = []byte(fmt.Sprint(i*50 + j))
		}
		require.NoError(t, l.Append(ctx, "t", rs...))
	}
	o := &owner{}
	ch, _ := attach(t, l, o, "t")
	for n := 0; n < 1000; {
		m := receive(t, ch)
		b := batch(t, m)
		require.Equal(t, next[b.Partition.Index], b.Start)
		require.Equal(t, b.Start+int64(len(b.Records)), b.End)
		last := -1
		for i, r := range b.Records {
			require.Equal(t, b.Start+int64(i), r.Offset)
			require.Equal(t, int(b.Partition.Index), stateful.Murmur2Partitioner(r.Key, 3))
			require.Equal(t, r.Key, r.Value)
			var v int
			_, err := fmt.Sscan(string(r.Value), &v)
			require.NoError(t, err)
			require.Greater(t, v, last)
			last = v
		}
		next[b.Partition.Index] = b.End
		n += len(b.Records)
		m.Ack()
	}
	require.Len(t, o.assigned, 1)
	require.Len(t, o.assigned[0], 3)
}

func TestAtMostFourEnvelopesAreInFlightAndANackGoesBackToTheOldest(t *testing.T) {
	synctest.Test(t, atMostFour)
}

func atMostFour(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.Append(ctx, "t", recs(0, 100)...))
	ch, _ := attach(t, l, &owner{}, "t")
	var ms []*message.Message
	for range 4 {
		ms = append(ms, receive(t, ch))
	}
	synctest.Wait()
	select {
	case m := <-ch:
		require.Fail(t, "a fifth envelope is in flight", span(batch(t, m)))
	default:
	}
	require.Equal(t, "[30,40)", span(batch(t, ms[3])))
	ms[0].Ack()
	fifth := receive(t, ch)
	require.Equal(t, "[40,50)", span(batch(t, fifth)))
	// In any order: the second is nacked, the one behind it acked before all are settled.
	ms[2].Ack()
	ms[1].Nack()
	fifth.Nack()
	synctest.Wait()
	select {
	case m := <-ch:
		require.Fail(t, "delivered while one is in flight", span(batch(t, m)))
	default:
	}
	ms[3].Nack()
	var want int64 = 10
	for want < 100 {
		m := receive(t, ch)
		b := batch(t, m)
		require.Equal(t, want, b.Start)
		require.Equal(t, fmt.Sprint(want), string(b.Records[0].Value))
		want = b.End
		m.Ack()
	}
}

func TestClosingEndsTheBackOffAtOnce(t *testing.T) {
	synctest.Test(t, closingEndsBackOff)
}

func closingEndsBackOff(t *testing.T) {
	c := small()
	c.RetryBase, c.RetryMax = time.Hour, time.Hour
	l := memory(t, c)
	require.NoError(t, l.Append(ctx, "t", recs(0, 1)...))
	o := &owner{}
	ch, a := attach(t, l, o, "t")
	start := time.Now()
	receive(t, ch).Nack()
	synctest.Wait()
	require.NoError(t, a.Close())
	ended(t, ch)
	require.Less(t, time.Since(start), time.Hour)
	require.Len(t, o.revoked, 1, "the owner's tasks are closed")
}

func TestASealedTopicEndsWithOneEmptyBatchPerPartition(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.Append(ctx, "t", recs(0, 5)...))
	ch, _ := attach(t, l, &owner{}, "t")
	m := receive(t, ch)
	require.False(t, batch(t, m).EndOfInput)
	m.Ack()
	require.NoError(t, l.Seal("t"))
	m = receive(t, ch)
	b := batch(t, m)
	require.True(t, b.EndOfInput)
	require.Empty(t, b.Records)
	require.Equal(t, "[5,5)", span(b))
	m.Nack()
	m = receive(t, ch)
	require.True(t, batch(t, m).EndOfInput, "a nacked end comes again")
	m.Ack()
	err := l.Append(ctx, "t", recs(5, 6)...)
	require.ErrorIs(t, err, embedded.ErrSealed)
	require.True(t, stateful.IsPermanent(err))
}

// S2: a position that the log cannot serve is refused and never reset.
func TestPositionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, log string
		offset    int64
		want      string
	}{
		{"of another log", "0123456789abcdef", 3, "deleted or reset"},
		{"beyond the end", "", 11, "the log ends at 10"},
		{"below the start", "", 3, "what is kept begins at 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := small()
			c.RetentionBytes = 1
			l := memory(t, c)
			require.NoError(t, l.CreateTopic("t", 1))
			p, err := l.Position("t", 0)
			require.NoError(t, err)
			// A group that stands at 5 lets the first five go, and no more.
			_, a := attach(t, l, &owner{}, "t")
			require.NoError(t, a.Close())
			require.NoError(t, l.Append(ctx, "t", recs(0, 5)...))
			require.NoError(t, l.Append(ctx, "t", recs(5, 10)...))
			l.Committed("app.h", stateful.Partition{Topic: "t"}, stateful.Position{Log: p.Log, Offset: 5})
			require.NoError(t, l.Trim())
			require.Equal(t, numbers(5, 10), values(t, l, "t", 0))

			if tt.log == "" {
				tt.log = p.Log
			}
			o := &owner{positions: at("t", 0, tt.log, tt.offset)}
			s, err := l.Attach("app.h", []string{"t"}, o)
			require.NoError(t, err)
			_, err = s.(*embedded.Attached).SubscribeBatches(ctx, "t")
			require.ErrorContains(t, err, tt.want)
			require.Len(t, o.revoked, 1, "the tasks that were opened are closed")
			require.NoError(t, s.Close())
		})
	}
}

func TestDeliveryStartsAtThePositionAssigned(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.Append(ctx, "t", recs(0, 10)...))
	p, err := l.Position("t", 0)
	require.NoError(t, err)
	ch, _ := attach(t, l, &owner{positions: at("t", 0, p.Log, 7)}, "t")
	m := receive(t, ch)
	require.Equal(t, "[7,10)", span(batch(t, m)))
	m.Ack()
}

func TestInputsOfOneHandlerMustHaveEqualPartitions(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.CreateTopic("a", 2))
	require.NoError(t, l.CreateTopic("b", 3))
	require.NoError(t, l.CreateTopic("c", 2))
	_, err := l.Attach("g", []string{"a", "b"}, &owner{})
	require.ErrorContains(t, err, `"a" has 2 partitions and "b" has 3`)

	o := &owner{}
	s, err := l.Attach("g", []string{"a", "c"}, o)
	require.NoError(t, err)
	defer s.Close()
	a, err := s.(*embedded.Attached).SubscribeBatches(t.Context(), "a")
	require.NoError(t, err)
	c, err := s.(*embedded.Attached).SubscribeBatches(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, [][]stateful.Partition{{{Topic: "a"}, {Topic: "c"}, {Topic: "a", Index: 1}, {Topic: "c", Index: 1}}}, o.assigned)
	require.Equal(t, 2, l.Traits().Partitions)
	require.Equal(t, 2, s.(*embedded.Attached).Traits().Partitions)
	require.NoError(t, s.Close())
	ended(t, a)
	ended(t, c)
	require.Len(t, o.revoked, 1)
}

func TestAResetTopicEndsItsSubscriptions(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.Append(ctx, "t", recs(0, 3)...))
	before, err := l.Position("t", 0)
	require.NoError(t, err)
	ch, _ := attach(t, l, &owner{}, "t")
	m := receive(t, ch)
	require.NoError(t, l.Reset("t"))
	m.Ack()
	ended(t, ch)
	after, err := l.Position("t", 0)
	require.NoError(t, err)
	require.NotEqual(t, before.Log, after.Log)
	require.Zero(t, after.Offset)
	require.Empty(t, values(t, l, "t", 0))
	// What the old log committed says nothing about the new one.
	l.Committed("app.h", stateful.Partition{Topic: "t"}, before)
	require.NoError(t, l.Append(ctx, "t", recs(0, 3)...))
	lag, err := l.Lag("app.h", "t")
	require.NoError(t, err)
	require.EqualValues(t, 3, lag)
}

func TestGroupsHoldBackRetention(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	c := small()
	c.RetentionAge = time.Second
	c.Now = func() time.Time { return now }
	l := memory(t, c)
	appendRuns := func() {
		for i := range 4 {
			require.NoError(t, l.Append(ctx, "t", recs(i*5, i*5+5)...))
		}
	}
	appendRuns()
	o := &owner{}
	_, a := attach(t, l, o, "t")
	require.NoError(t, a.Close())
	p, err := l.Position("t", 0)
	require.NoError(t, err)

	now = now.Add(time.Minute)
	require.NoError(t, l.Trim())
	require.Equal(t, numbers(0, 20), values(t, l, "t", 0), "a group that committed nothing keeps all")
	l.Committed("app.h", stateful.Partition{Topic: "t"}, stateful.Position{Log: p.Log, Offset: 12})
	require.NoError(t, l.Trim())
	require.Equal(t, numbers(10, 20), values(t, l, "t", 0), "whole blocks below the position go")
	require.NoError(t, l.Forget("app.h"))
	require.NoError(t, l.Trim())
	require.Empty(t, values(t, l, "t", 0))
	end, err := l.EndOffset("t", 0)
	require.NoError(t, err)
	require.EqualValues(t, 20, end, "offsets go on where they were")
}

func TestSubscribersOfOneGroupShareAndGoOn(t *testing.T) {
	l := memory(t, small())
	require.NoError(t, l.Append(ctx, "t", recs(0, 4)...))
	sub := func() (*embedded.Subscriber, <-chan *message.Message) {
		s, err := l.Subscriber(embedded.SubscriberConfig{Group: "g"})
		require.NoError(t, err)
		ch, err := s.Subscribe(ctx, "t")
		require.NoError(t, err)
		return s, ch
	}
	first, ch := sub()
	receive(t, ch).Ack()
	held := receive(t, ch)
	require.Equal(t, "1", string(held.Payload))
	second, standby := sub()
	require.NoError(t, first.Close())
	require.Equal(t, "1", string(receive(t, standby).Payload), "what was not acked is delivered again")
	require.NoError(t, second.Close())
}

func TestMessagesKeepKeyIdAndMetadata(t *testing.T) {
	l := memory(t, small())
	m := message.NewMessage("id-1", []byte("v"))
	m.Metadata = message.Metadata{"b": "2", "a": "1", embedded.KeyMetadata: "k"}
	require.NoError(t, l.Publisher().Publish("t", m))
	for r, err := range l.Read("t", 0, 0) {
		require.NoError(t, err)
		require.Equal(t, "k", string(r.Key))
	}
	s, err := l.Subscriber(embedded.SubscriberConfig{Group: "g"})
	require.NoError(t, err)
	ch, err := s.Subscribe(ctx, "t")
	require.NoError(t, err)
	got := receive(t, ch)
	require.Equal(t, m.UUID, got.UUID)
	require.Equal(t, m.Metadata, got.Metadata)
	require.NoError(t, s.Close())
}

// T5.
func TestAnEnvelopeWithoutItsBatchIsRefused(t *testing.T) {
	l := memory(t, small())
	env := stateful.NewEnvelope(ctx, &stateful.Batch{Records: recs(0, 3)})
	require.ErrorIs(t, l.Publisher().Publish("t", env.Copy()), stateful.ErrContextLost)
	require.NoError(t, l.Publisher().Publish("t", env))
	require.Equal(t, numbers(0, 3), values(t, l, "t", 0))
}

// The end of a log is behind what was appended, on the disk or on its way there; another
// log, or what does not exist, has none.
func TestAtEnd(t *testing.T) {
	l := memory(t, small())
	_, a := attach(t, l, &owner{}, "t")
	p := stateful.Partition{Topic: "t"}
	require.True(t, a.AtEnd(p, stateful.Position{}), "an empty log")
	require.NoError(t, l.Append(ctx, "t", recs(0, 3)...))
	end, err := l.Position("t", 0)
	require.NoError(t, err)
	require.False(t, a.AtEnd(p, stateful.Position{}), "the beginning of a log with records")
	require.False(t, a.AtEnd(p, stateful.Position{Log: end.Log, Offset: 2}), "before the last record")
	require.True(t, a.AtEnd(p, end))
	require.False(t, a.AtEnd(p, stateful.Position{Log: "another", Offset: 3}))
	require.False(t, a.AtEnd(stateful.Partition{Topic: "t", Index: 1}, end))
	require.False(t, a.AtEnd(stateful.Partition{Topic: "none"}, end))
}
