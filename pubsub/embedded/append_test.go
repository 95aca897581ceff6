package embedded_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

func TestRecordsComeBackAsTheyWent(t *testing.T) {
	now := time.UnixMilli(5_000)
	l := memory(t, embedded.Config{Partitions: 1, Now: func() time.Time { return now }})
	in := []stateful.Record{
		{Key: nil, Value: nil, Time: stateful.NoTime},
		{Key: []byte{}, Value: []byte{}, Time: 0},
		{Key: []byte("k"), Value: []byte("v"), Time: -77, Headers: []stateful.Header{{Key: "h", Value: "1"}, {Key: "h", Value: ""}}},
		{Value: []byte(strings.Repeat("x", 100_000)), Time: 1 << 60},
	}
	require.NoError(t, l.Append(ctx, "t", in...))
	in[0].Time = 5_000
	i := 0
	for r, err := range l.Read("t", 0, 0) {
		require.NoError(t, err)
		want := in[i]
		want.Offset = int64(i)
		require.Equal(t, want, r)
		i++
	}
	require.Len(t, in, i)
}

func TestRefusals(t *testing.T) {
	l := memory(t, embedded.Config{MaxRecordBytes: 10, MaxKeyBytes: 4})
	require.NoError(t, l.CreateTopic("t", 2))
	require.NoError(t, l.CreateTopic("t", 0), "no number takes what is stored")
	err := l.CreateTopic("t", 3)
	require.ErrorContains(t, err, "2 partitions, not 3")
	for name, r := range map[string]stateful.Record{
		"a large value": rec("", "01234567890"), "a large key": rec("01234", ""),
		"large headers": {Headers: []stateful.Header{{Key: "012345", Value: "012345"}}},
	} {
		err := l.Append(ctx, "t", rec("", "ok"), r)
		require.ErrorIs(t, err, embedded.ErrTooLarge, name)
		require.True(t, stateful.IsPermanent(err), name)
	}
	require.ErrorIs(t, l.Check(&stateful.Row{Topic: "t", Payload: make([]byte, 11)}), embedded.ErrTooLarge)
	require.NoError(t, l.Check(&stateful.Row{Topic: "t", Payload: make([]byte, 10)}))
	require.Empty(t, append(values(t, l, "t", 0), values(t, l, "t", 1)...), "an append is all or none")
	require.Error(t, l.CreateTopic("", 1))
	_, err = embedded.Open(embedded.Config{Partitions: -1, MaxInFlight: -1})
	require.ErrorContains(t, err, "Dir or DB")
	require.ErrorContains(t, err, "Partitions")
	require.ErrorContains(t, err, "MaxInFlight")
	_, err = embedded.Open(embedded.Config{DB: l.DB()})
	require.ErrorContains(t, err, "already has an open log")
}

func TestRecordsWithoutAKeyStayTogetherAndTakeTurns(t *testing.T) {
	l := memory(t, embedded.Config{Partitions: 2})
	require.NoError(t, l.Append(ctx, "t", recs(0, 3)...))
	require.NoError(t, l.Append(ctx, "t", recs(3, 6)...))
	require.Equal(t, numbers(0, 3), values(t, l, "t", 0))
	require.Equal(t, numbers(3, 6), values(t, l, "t", 1))
}

func TestCloseEndsEverything(t *testing.T) {
	l := memory(t, small())
	ch, _ := attach(t, l, &owner{}, "t")
	require.NoError(t, l.Close())
	ended(t, ch)
	require.ErrorIs(t, l.Append(ctx, "t", recs(0, 1)...), stateful.ErrClosed)
	require.ErrorIs(t, l.Publisher().Publish("t"), stateful.ErrClosed)
	_, err := l.Subscribe(ctx, "t")
	require.ErrorIs(t, err, stateful.ErrClosed)
	require.NoError(t, l.Close())
}

func TestAGivenDatabaseStaysOpen(t *testing.T) {
	db, err := pebbledb.Open(pebbledb.Config{Dir: "x", FS: vfs.NewMem()})
	require.NoError(t, err)
	for i := range 2 {
		l, err := embedded.Open(embedded.Config{DB: db, Partitions: 1})
		require.NoError(t, err)
		require.NoError(t, l.Append(ctx, "t", recs(i, i+1)...))
		require.Equal(t, numbers(0, i+1), values(t, l, "t", 0))
		require.NoError(t, l.Close())
	}
	require.NoError(t, db.Close())
}

func TestAProducerAppendsEachSequenceOnce(t *testing.T) {
	fs := vfs.NewMem()
	l := onFS(t, fs, embedded.Config{Partitions: 1})
	p, err := l.NewProducer(ctx, "loader")
	require.NoError(t, err)
	require.NoError(t, p.Append(ctx, "t", 1, recs(0, 5)...))
	require.NoError(t, p.Append(ctx, "t", 3, recs(2, 8)...))
	require.NoError(t, l.Close())

	l = onFS(t, fs, embedded.Config{})
	defer l.Close()
	q, err := l.NewProducer(ctx, "loader")
	require.NoError(t, err)
	require.EqualValues(t, 8, q.Sequence())
	require.NoError(t, q.Append(ctx, "t", 1, recs(0, 10)...))
	require.NoError(t, q.AppendRows(ctx, []stateful.Row{
		{Seq: 10, Topic: "t", Payload: []byte("10")}, {Seq: 12, Topic: "bad", Payload: []byte("x")}, {Seq: 20, Topic: "t", Payload: []byte("10")},
	}))
	require.Equal(t, numbers(0, 11), values(t, l, "t", 0))
	require.Equal(t, []string{"x"}, values(t, l, "bad", 0))

	r, err := l.NewProducer(ctx, "loader")
	require.NoError(t, err)
	require.ErrorIs(t, q.Append(ctx, "t", 21, recs(0, 1)...), stateful.ErrFenced, "a second producer fences the first")
	require.NoError(t, r.Rewind(ctx))
	require.Zero(t, r.Sequence())
}

// K1: a lower (incarnation, epoch) is refused, a higher incarnation begins anew.
func TestTheCursorOfATask(t *testing.T) {
	fs := vfs.NewMem()
	l := onFS(t, fs, embedded.Config{Partitions: 1})
	p := func(incarnation, epoch uint64) stateful.Producer {
		return stateful.Producer{App: "a", Handler: "h", Incarnation: incarnation, Epoch: epoch}
	}
	row := func(seq uint64) []stateful.Row {
		return []stateful.Row{{Seq: seq, Topic: "t", Payload: []byte(fmt.Sprint(seq))}}
	}
	require.NoError(t, l.AppendRows(ctx, p(1, 5), append(row(1), row(2)...)))
	require.NoError(t, l.AppendRows(ctx, p(1, 5), append(row(2), row(3)...)))
	seq, err := l.Fence(ctx, p(1, 6))
	require.NoError(t, err)
	require.EqualValues(t, 3, seq)
	require.NoError(t, l.Close())

	l = onFS(t, fs, embedded.Config{})
	defer l.Close()
	require.ErrorIs(t, l.AppendRows(ctx, p(1, 5), row(4)), stateful.ErrFenced, "the fence is stored")
	epoch, seq, err := l.Cursor(p(1, 7))
	require.NoError(t, err)
	require.Equal(t, []uint64{6, 3}, []uint64{epoch, seq})
	_, seq, err = l.Cursor(p(2, 1))
	require.NoError(t, err)
	require.Zero(t, seq, "another incarnation has a cursor of its own")
	require.NoError(t, l.AppendRows(ctx, p(2, 1), row(1)))
	_, _, err = l.Cursor(p(1, 9))
	require.ErrorIs(t, err, stateful.ErrFenced)
	_, err = l.Fence(ctx, p(1, 9))
	require.ErrorIs(t, err, stateful.ErrFenced)
	err = l.AppendRows(ctx, p(2, 1), append(row(5), row(4)...))
	require.ErrorContains(t, err, "must rise")
	require.Equal(t, []string{"1", "2", "3", "1"}, values(t, l, "t", 0))
}

// What was acknowledged is there after a crash at any moment, in order, without gap
// or repeat, and so is the producer's cursor.
func TestACrashKeepsWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			fs := vfs.NewCrashableMem()
			l := onFS(t, fs, embedded.Config{Partitions: 2})
			p, err := l.NewProducer(ctx, "p")
			require.NoError(t, err)
			sent := 0
			for range 1 + rng.IntN(20) {
				n := 1 + rng.IntN(700)
				require.NoError(t, p.AppendRows(ctx, rowsOf(sent, sent+n)))
				sent += n
			}
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
			require.NoError(t, l.Close())

			l = onFS(t, crashed, embedded.Config{})
			defer l.Close()
			p, err = l.NewProducer(ctx, "p")
			require.NoError(t, err)
			require.EqualValues(t, sent, p.Sequence())
			require.NoError(t, p.AppendRows(ctx, rowsOf(0, sent+100)), "a loader begins from the start again")
			wantRows(t, l, sent+100)
		})
	}
}

func rowsOf(from, to int) []stateful.Row {
	var rows []stateful.Row
	for i := from; i < to; i++ {
		rows = append(rows, stateful.Row{
			Seq: uint64(i + 1), Topic: "t", Key: []byte(fmt.Sprint(i % 10)), Payload: []byte(fmt.Sprint(i)), Time: stateful.NoTime,
		})
	}
	return rows
}

// wantRows checks that partitions 0 and 1 of "t" hold the n first rows of rowsOf.
func wantRows(t *testing.T, l *embedded.Log, n int) {
	t.Helper()
	want := make([][]string, 2)
	for _, r := range rowsOf(0, n) {
		i := stateful.Murmur2Partitioner(r.Key, 2)
		want[i] = append(want[i], string(r.Payload))
	}
	require.Equal(t, want[0], values(t, l, "t", 0))
	require.Equal(t, want[1], values(t, l, "t", 1))
}

type batchWriter struct{ b *pebble.Batch }

func (w batchWriter) Set(k, v []byte) error { return w.b.Set(k, v, nil) }
func (w batchWriter) Delete(k []byte) error { return w.b.Delete(k, nil) }

// join is what a store does with the joined part of a commit.
func join(db *pebbledb.DB, j stateful.Joined) error {
	b := db.NewBatch()
	if err := j.Join(batchWriter{b}); err != nil {
		return err
	}
	err := db.ApplyNoSyncWait(b, db.WriteOptions())
	j.Applied(err)
	if err == nil {
		err = db.SyncWait(b)
	}
	j.Durable(err)
	return err
}

// K8: joins of several tasks and plain appends give out offsets without gap or
// repeat, however they meet.
func TestJoinsAndAppendsMeet(t *testing.T) {
	fs := vfs.NewMem()
	l := onFS(t, fs, embedded.Config{Partitions: 3})
	var wg sync.WaitGroup
	const writers, rounds = 4, 40
	for w := range writers {
		wg.Go(func() {
			p := stateful.Producer{App: "a", Handler: "h", Partition: int32(w), Epoch: 1}
			for i := range rounds {
				rows := []stateful.Row{
					{Seq: uint64(2*i + 1), Topic: "t", Key: []byte(fmt.Sprint(w)), Payload: []byte(fmt.Sprintf("j%d-%d", w, i))},
					{Seq: uint64(2*i + 2), Topic: fmt.Sprintf("u%d", i%2), Payload: []byte("x")},
				}
				if w%2 == 1 { // topics in another order must not wait for each other
					rows[0].Topic, rows[1].Topic = rows[1].Topic, rows[0].Topic
					rows[0].Payload, rows[1].Payload = rows[1].Payload, rows[0].Payload
					rows[0].Key, rows[1].Key = rows[1].Key, rows[0].Key
				}
				if err := join(l.DB(), l.Joined(p, rows)); err != nil {
					t.Error(err)
				}
				if err := l.Append(ctx, "t", rec(fmt.Sprint(i), fmt.Sprintf("a%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check := func(l *embedded.Log) {
		next := map[string]int{}
		total := 0
		for part := range int32(3) {
			for _, v := range values(t, l, "t", part) {
				total++
				if w, n, ok := strings.Cut(v, "-"); ok && w[0] == 'j' {
					require.Equal(t, fmt.Sprint(next[w]), n, "a task's rows keep their order")
					next[w]++
				}
			}
		}
		require.Equal(t, 2*writers*rounds, total)
	}
	check(l)
	require.NoError(t, l.Close())
	l = onFS(t, fs, embedded.Config{})
	defer l.Close()
	check(l)
}

func TestAJoinThatWasNotAppliedLeavesNoTrace(t *testing.T) {
	l := memory(t, embedded.Config{Partitions: 1})
	p := stateful.Producer{App: "a", Handler: "h", Epoch: 1}
	b := l.DB().NewBatch()
	defer b.Close()
	j := l.Joined(p, []stateful.Row{{Seq: 1, Topic: "t", Payload: []byte("lost")}})
	require.NoError(t, j.Join(batchWriter{b}))
	j.Applied(context.Canceled)
	j.Durable(context.Canceled)
	require.NoError(t, l.DB().Err(), "a commit that was refused is no fault of the database")
	require.NoError(t, join(l.DB(), l.Joined(p, []stateful.Row{{Seq: 1, Topic: "t", Payload: []byte("0")}})))
	require.NoError(t, join(l.DB(), l.Joined(p, []stateful.Row{{Seq: 1, Topic: "t", Payload: []byte("again")}})))
	require.Equal(t, []string{"0"}, values(t, l, "t", 0))
	p.Epoch = 0
	require.ErrorIs(t, join(l.DB(), l.Joined(p, nil)), stateful.ErrFenced)
}

func TestOnlyDurableRecordsAreDelivered(t *testing.T) {
	synctest.Test(t, onlyDurable)
}

func onlyDurable(t *testing.T) {
	l := memory(t, small())
	ch, a := attach(t, l, &owner{}, "t")
	b := l.DB().NewBatch()
	j := l.Joined(stateful.Producer{App: "a", Handler: "h"}, []stateful.Row{{Seq: 1, Topic: "t", Payload: []byte("0")}})
	require.NoError(t, j.Join(batchWriter{b}))
	require.NoError(t, l.DB().Apply(b, pebble.NoSync))
	j.Applied(nil)
	require.Empty(t, values(t, l, "t", 0))
	require.False(t, a.AtEnd(stateful.Partition{Topic: "t"}, stateful.Position{}), "there is one more to come")
	synctest.Wait()
	select {
	case m := <-ch:
		require.Fail(t, "delivered before it was durable", span(batch(t, m)))
	default:
	}
	j.Durable(nil)
	receive(t, ch).Ack()
}

func TestAFailedSyncKillsTheLogAndEndsSubscriptions(t *testing.T) {
	l, err := embedded.OpenMemory(small())
	require.NoError(t, err)
	ch, _ := attach(t, l, &owner{}, "t")
	b := l.DB().NewBatch()
	j := l.Joined(stateful.Producer{App: "a", Handler: "h"}, []stateful.Row{{Seq: 1, Topic: "t"}})
	require.NoError(t, j.Join(batchWriter{b}))
	j.Applied(nil)
	j.Durable(context.DeadlineExceeded)
	ended(t, ch)
	require.ErrorContains(t, l.Append(ctx, "t", recs(0, 1)...), "dead")
	require.Error(t, l.Close())
}
