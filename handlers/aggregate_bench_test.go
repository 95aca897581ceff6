package handlers_test

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/pondage/pondage/handlers"
)

// What it costs to fold one event.
func BenchmarkAggregates(b *testing.B) {
	events := make([]sample, 4096)
	for i := range events {
		events[i] = sample{At: int64(i + 1), Word: fmt.Sprint(i), Value: float64(i * 7919 % 4096)}
	}
	b.Run("count", func(b *testing.B) { benchFold(b, handlers.Count[sample](), events) })
	b.Run("mean", func(b *testing.B) { benchFold(b, handlers.Mean(sampleValue), events) })
	b.Run("distinct", func(b *testing.B) { benchFold(b, handlers.DistinctCount(sampleWord), events) })
	b.Run("quantiles", func(b *testing.B) { benchFold(b, handlers.Quantiles(sampleValue, 0), events) })
	b.Run("last", func(b *testing.B) { benchFold(b, handlers.Last(sampleTime, sampleWord), events) })
	b.Run("top", func(b *testing.B) { benchFold(b, handlers.TopK(10, sampleValue, cmp.Compare[float64]), events) })
	b.Run("list", func(b *testing.B) { benchFold(b, handlers.List(4096, sampleWord), events) })
}

// benchFold begins anew after all events.
func benchFold[A any](b *testing.B, a handlers.Aggregate[sample, A], events []sample) {
	var none A
	if a.Init != nil {
		none = a.Init()
	}
	b.ReportAllocs()
	v, i := none, 0
	for b.Loop() {
		var err error
		if v, err = a.Fold(v, events[i]); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(events) {
			v, i = none, 0
		}
	}
}
