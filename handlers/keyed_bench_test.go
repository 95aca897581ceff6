package handlers_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// tally is an event that costs nothing to decode.
type tally struct {
	key string
	at  int64
}

type tallies []string

func (k tallies) Decode(b []byte, v any) error {
	*v.(*tally) = tally{k[b[0]], int64(binary.BigEndian.Uint64(b[1:]))}
	return nil
}
func (tallies) Append([]byte, any) ([]byte, error) { return nil, errors.ErrUnsupported }

func counted() handlers.Keyed[tally, int64] {
	return handlers.Keyed[tally, int64]{
		Name: "tally", From: "events", In: tallies{"ana", "bo", "cy", "di"},
		Key:  func(e tally) string { return e.key },
		Time: func(e tally) time.Time { return time.UnixMilli(e.at) },
		OnEvent: func(_ context.Context, c *handlers.Context[int64], _ tally) error {
			n, _ := c.Get()
			c.Put(n + 1)
			return nil
		},
		TTL: time.Hour,
	}
}

func tallyBatch(n int, from int64) stateful.Batch {
	b := stateful.Batch{Partition: stateful.Partition{Topic: "events"}, Log: "log", Start: from, End: from + int64(n)}
	mem := bytes.Repeat([]byte{0}, 9*n)
	for i := range n {
		v := mem[9*i : 9*i+9]
		v[0] = byte(i % 4)
		binary.BigEndian.PutUint64(v[1:], uint64(from)+uint64(i))
		b.Records = append(b.Records, stateful.Record{Value: v, Offset: from + int64(i), Time: from + int64(i)})
	}
	return b
}

func TestKeyedAllocatesNothingForAnEventOfAKnownKey(t *testing.T) {
	const n = 4096
	p, err := stateful.NewProcessor(stateful.Config{App: "test", Backend: memory.New()})
	if err == nil {
		err = p.AddTo(nil, counted())
	}
	if err != nil {
		t.Fatal(err)
	}
	var batches []stateful.Batch
	for i := range 12 {
		batches = append(batches, tallyBatch(n, int64(i*n)))
	}
	run := func() {
		if err := p.Process(t.Context(), "tally", batches[0]); err != nil {
			t.Fatal(err)
		}
		batches = batches[1:]
	}
	run()
	if allocs := testing.AllocsPerRun(10, run); allocs > n/50 {
		t.Errorf("%v allocations for %d events", allocs, n)
	}
}

func BenchmarkKeyed(b *testing.B) {
	p, err := stateful.NewProcessor(stateful.Config{App: "test", Backend: memory.New()})
	if err == nil {
		err = p.AddTo(nil, counted())
	}
	if err != nil {
		b.Fatal(err)
	}
	batch, at := tallyBatch(1024, 0), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Process(b.Context(), "tally", batch); err != nil {
			b.Fatal(err)
		}
		at = batch.End
		batch.Start, batch.End = at, at+1024
		for i := range batch.Records {
			r := &batch.Records[i]
			r.Offset, r.Time = at+int64(i), at+int64(i)
			binary.BigEndian.PutUint64(r.Value[1:], uint64(r.Time))
		}
	}
	b.ReportMetric(float64(b.N*1024)/b.Elapsed().Seconds(), "events/s")
}
