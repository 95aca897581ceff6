package stateful_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

// What typed state costs a record, beside what the record costs by itself.
func BenchmarkStates(b *testing.B) {
	for _, ttl := range []time.Duration{0, time.Hour} {
		value := stateful.Value[int]{Name: "value", TTL: ttl}
		tags := stateful.Map[int, int]{Name: "tags", TTL: ttl}
		keys := make([]string, 1000)
		for i := range keys {
			keys[i] = fmt.Sprintf("key-%04d", i)
		}
		for _, bb := range []struct {
			name string
			do   func(ctx context.Context, at stateful.Scope, i int) error
		}{
			{"nothing", func(context.Context, stateful.Scope, int) error { return nil }},
			{"value", func(ctx context.Context, at stateful.Scope, _ int) error {
				n, _, err := value.Get(ctx, at)
				if err != nil {
					return err
				}
				return value.Put(ctx, at, n+1)
			}},
			{"map", func(ctx context.Context, at stateful.Scope, i int) error {
				n, _, err := tags.Get(ctx, at, i%7)
				if err != nil {
					return err
				}
				return tags.Put(ctx, at, i%7, n+1)
			}},
		} {
			b.Run(fmt.Sprintf("%s/ttl=%v", bb.name, ttl), func(b *testing.B) {
				h := &benched{keys: keys, do: bb.do}
				r := newRig(&testing.T{}, h)
				recs := make([]stateful.Record, 1024)
				b.ReportAllocs()
				p := stateful.Partition{Topic: "in"}
				at := int64(0)
				for b.Loop() {
					for i := range recs {
						recs[i] = stateful.Record{Offset: at + int64(i), Time: at + int64(i)}
					}
					batch := stateful.Batch{Partition: p, Log: "log-1", Start: at, End: at + int64(len(recs)), Records: recs}
					if err := r.process(batch); err != nil {
						b.Fatal(err)
					}
					at = batch.End
				}
				b.ReportMetric(float64(b.N*len(recs))/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

type benched struct {
	keys []string
	do   func(ctx context.Context, at stateful.Scope, i int) error
	n    int
}

func (h *benched) HandlerName() string { return "benched" }
func (h *benched) Inputs() []string    { return []string{"in"} }

func (h *benched) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if _, err := tx.Observe(rec.Time); err != nil {
		return err
	}
	h.n++
	return h.do(ctx, stateful.Scope{Tx: tx, Key: h.keys[h.n%len(h.keys)]}, h.n)
}
