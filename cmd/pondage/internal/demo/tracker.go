package demo

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
)

// tracker watches a run: how far it is, for people, and when all of it is done.
type tracker struct {
	stats  []handlers.Stats // of each view
	ended  context.Context  // done once every partition of every view is
	finish context.CancelFunc

	mu    sync.Mutex
	parts map[string][]span // by handler
	left  int               // partitions of views that have not ended
}

// span is what this process did of a partition; below it lies what others did.
type span struct {
	start, end int64
	seen, over bool
}

func newTracker(partitions int) *tracker {
	t := &tracker{stats: make([]handlers.Stats, len(views)), parts: make(map[string][]span), left: len(views) * partitions}
	for _, v := range views {
		t.parts[v.topic] = make([]span, partitions)
	}
	t.ended, t.finish = context.WithCancel(context.Background())
	return t
}

// middleware sees envelopes before anything is done with them, and once their effects are
// durable. It is outermost. Envelopes of one partition may pass it out of order.
func (t *tracker) middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		b, ok := stateful.BatchFrom(msg.Context())
		if !ok || b.Log == "" { // a tick
			return h(msg)
		}
		handler := message.HandlerNameFromCtx(msg.Context())
		t.delivered(handler, b)
		out, err := h(msg)
		if err == nil {
			t.processed(handler, b)
		}
		return out, err
	}
}

func (t *tracker) delivered(handler string, b *stateful.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.parts[handler][b.Partition.Index]
	if !p.seen {
		*p = span{start: b.Start, end: b.Start, seen: true}
	}
	p.start = min(p.start, b.Start)
}

func (t *tracker) processed(handler string, b *stateful.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.parts[handler][b.Partition.Index]
	p.end = max(p.end, b.End)
	if b.EndOfInput && !p.over {
		p.over = true
		if t.left--; t.left == 0 {
			t.finish()
		}
	}
}

// counts returns how many rows are processed in the view that is furthest behind, by this process and
// with those before.
func (t *tracker) counts() (now, all int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := true
	for _, parts := range t.parts {
		var n, sum int64
		for _, p := range parts {
			n += p.end - p.start
			sum += p.end
		}
		if first || sum < all {
			now, all, first = n, sum, false
		}
	}
	return now, all
}
