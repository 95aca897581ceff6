package stateful_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// A service without a Watermill source passes its batches by hand. What was passed before is
// dropped, so that repeating a batch does no harm.
func ExampleProcessor_Process() {
	type reading struct {
		Sensor string
		Second int64
	}
	perMinute := handlers.Window[reading, int]{
		Name: "readings-per-minute", From: "readings", To: "counts",
		Key:     func(r reading) string { return r.Sensor },
		Time:    func(r reading) time.Time { return time.Unix(r.Second, 0) },
		Windows: window.Tumbling(time.Minute),
		Fold:    func(n int, _ reading) (int, error) { return n + 1, nil },
		Encode:  func(r handlers.Result[int]) (any, error) { return fmt.Sprint(r.Key, ": ", r.Value), nil },
	}
	ctx, sink := context.Background(), outbox.NewMemory()
	p, err := stateful.NewProcessor(stateful.Config{App: "sensors", Backend: memory.New(), Outbox: outbox.New(sink)})
	if err != nil {
		panic(err)
	}
	if err := p.AddTo(nil, perMinute); err != nil {
		panic(err)
	}
	batch := stateful.Batch{
		Partition: stateful.Partition{Topic: "readings"},
		Log:       "readings-of-2026", // which log the offsets are of
		Start:     0, End: 3,
		Records: []stateful.Record{
			{Offset: 0, Time: stateful.NoTime, Value: []byte(`{"Sensor":"north","Second":10}`)},
			{Offset: 1, Time: stateful.NoTime, Value: []byte(`{"Sensor":"north","Second":59}`)},
			{Offset: 2, Time: stateful.NoTime, Value: []byte(`{"Sensor":"north","Second":60}`)},
		},
	}
	for range 2 {
		if err := p.Process(ctx, "readings-per-minute", batch); err != nil {
			panic(err)
		}
	}
	if err := p.Close(ctx); err != nil { // publishes what is committed
		panic(err)
	}
	for _, row := range sink.Rows("counts") {
		fmt.Printf("%s\n", row.Payload)
	}
	fmt.Println(p.Guarantee())
	// Output:
	// "north: 2"
	// exactly once
}
