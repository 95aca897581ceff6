package embedded_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

const perAppend = 1000

// events are 100 bytes with one of 100 K keys.
func events() []stateful.Record {
	rs := make([]stateful.Record, perAppend)
	for i := range rs {
		rs[i] = stateful.Record{Key: fmt.Appendf(nil, "key-%06d", i*97%100_000), Value: make([]byte, 90), Time: int64(i)}
	}
	return rs
}

func BenchmarkAppend(b *testing.B) {
	rs := events()
	perSecond := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*perAppend/b.Elapsed().Seconds(), "events/s")
		b.ReportAllocs()
	}
	b.Run("log/disk", func(b *testing.B) {
		l, err := embedded.Open(embedded.Config{Dir: b.TempDir(), Partitions: 4})
		require.NoError(b, err)
		defer l.Close()
		for b.Loop() {
			require.NoError(b, l.Append(ctx, "t", rs...))
		}
		perSecond(b)
	})
	b.Run("log/memory", func(b *testing.B) {
		l, err := embedded.OpenMemory(embedded.Config{Partitions: 4, RetentionBytes: 64 << 20})
		require.NoError(b, err)
		defer l.Close()
		for b.Loop() {
			require.NoError(b, l.Append(ctx, "t", rs...))
		}
		perSecond(b)
	})
	// The same bytes, one entry per record, as a log without blocks would write them.
	raw := func(b *testing.B, c pebbledb.Config) {
		db, err := pebbledb.Open(c)
		require.NoError(b, err)
		defer db.Close()
		n := 0
		for b.Loop() {
			batch := db.NewBatch()
			for i := range rs {
				n++
				require.NoError(b, batch.Set(fmt.Appendf(nil, "e%021d", n), rs[i].Value, nil))
			}
			require.NoError(b, db.Apply(batch, db.WriteOptions()))
			require.NoError(b, batch.Close())
		}
		perSecond(b)
	}
	b.Run("raw/disk", func(b *testing.B) { raw(b, pebbledb.Config{Dir: b.TempDir()}) })
	b.Run("raw/memory", func(b *testing.B) { raw(b, pebbledb.Config{Dir: "x", FS: vfs.NewMem(), NoSync: true}) })
}

func BenchmarkRead(b *testing.B) {
	const total = 1_000_000
	rs := events()
	perSecond := func(b *testing.B) {
		b.ReportMetric(float64(b.N)*total/b.Elapsed().Seconds(), "events/s")
		b.ReportAllocs()
	}
	b.Run("envelopes", func(b *testing.B) {
		l, err := embedded.OpenMemory(embedded.Config{Partitions: 4})
		require.NoError(b, err)
		defer l.Close()
		for range total / perAppend {
			require.NoError(b, l.Append(ctx, "t", rs...))
		}
		for b.Loop() {
			s, err := l.Attach("g", []string{"t"}, &owner{})
			require.NoError(b, err)
			ch, err := s.(*embedded.Attached).SubscribeBatches(ctx, "t")
			require.NoError(b, err)
			for n := 0; n < total; {
				m := <-ch
				bt, _ := stateful.BatchFrom(m.Context())
				n += len(bt.Records)
				m.Ack()
			}
			require.NoError(b, s.Close())
		}
		perSecond(b)
	})
	b.Run("raw", func(b *testing.B) {
		db, err := pebbledb.Open(pebbledb.Config{Dir: "x", FS: vfs.NewMem(), NoSync: true})
		require.NoError(b, err)
		defer db.Close()
		for n := 0; n < total; {
			batch := db.NewBatch()
			for i := range rs {
				n++
				require.NoError(b, batch.Set(fmt.Appendf(nil, "e%021d", n), rs[i].Value, nil))
			}
			require.NoError(b, db.Apply(batch, pebble.NoSync))
			require.NoError(b, batch.Close())
		}
		for b.Loop() {
			it, err := db.NewIter(nil)
			require.NoError(b, err)
			n := 0
			for ok := it.First(); ok; ok = it.Next() {
				n += len(it.Value())
			}
			require.NoError(b, it.Close())
		}
		perSecond(b)
	})
}
