package stateful

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
)

// What comes while others are held back goes behind them, also when they were let go meanwhile.
func TestNothingOvertakesWhatIsHeldBack(t *testing.T) {
	reg := &registration{name: "h"}
	p := &Processor{draining: make(chan struct{}), tasks: make(map[TaskID]*Task)}
	task := &Task{id: TaskID{Handler: "h"}, ahead: make([]atomic.Bool, 1)}
	p.tasks[task.id] = task
	in := &intake{p: p, reg: reg}
	out, held := make(chan *message.Message, 3), make(heldBack)
	send := func(start int64) {
		t.Helper()
		b := &Batch{Partition: Partition{Topic: "in"}, Start: start}
		if !in.send("in", NewEnvelope(context.Background(), b), out, make(chan struct{}), held) {
			t.Fatal("the intake ended")
		}
	}
	task.ahead[0].Store(true)
	send(0)
	send(1)
	if len(out) > 0 {
		t.Fatal("an input that is ahead was forwarded")
	}
	task.ahead[0].Store(false)
	send(2)
	if len(out) != 3 {
		t.Fatalf("%d batches were forwarded, want 3", len(out))
	}
	for want := range int64(3) {
		b, _ := BatchFrom((<-out).Context())
		if b.Start != want || b.ticket.number != uint64(want+1) {
			t.Errorf("batch %d came with ticket %d, want batch %d with ticket %d", b.Start, b.ticket.number, want, want+1)
		}
	}
	if len(held) > 0 {
		t.Errorf("%d tasks still hold something back", len(held))
	}
}
