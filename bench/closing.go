package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// closing closes a million windows of one partition in one advance of the watermark while seven others go on, and
// says for how long any of those stood still and what memory it took.
func closing(e *env) error {
	n := int(max(1_000_000*min(e.o.scale, 1), minEvents))
	e.printf("\nclosing: one partition closes %d windows in one advance of the watermark, %d others go on; memory: the state lives and dies with the process\n"+
		"  to reach: none of those stands still for more than 100 ms; bounded memory\n", n, partitions-1)
	for range e.o.repeats {
		if err := closeOnce(e, n); err != nil {
			return err
		}
	}
	return nil
}

func closeOnce(e *env, n int) (err error) {
	c, err := newCloser()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.open(n); err != nil {
		return err
	}
	runtime.GC()
	for _, phase := range []struct {
		name string
		do   func() error
	}{
		{"before", func() error { time.Sleep(time.Second); return nil }},
		{"closing", func() error { return c.send(0, []event{{At: epoch + 7_200_000, User: "last"}}) }},
	} {
		took, gap, heap, more, err := c.watch(phase.do)
		if err != nil {
			return err
		}
		e.printf("  %s: %v, longest stand-still %v, heap %.0f MB, at most %.0f MB more\n", phase.name, took.Round(time.Millisecond), gap.Round(100*time.Microsecond), heap/1e6, more/1e6)
	}
	if fired := c.stats.Read().Fired; fired < uint64(n) {
		return fmt.Errorf("%d of %d windows closed", fired, n)
	}
	return nil
}

// closer is a processor whose partitions are given batches by hand.
type closer struct {
	p       *stateful.Processor
	backend *memory.Backend
	stats   handlers.Stats
	next    [partitions]int64 // offsets
	stop    atomic.Bool
}

func newCloser() (*closer, error) {
	c := &closer{backend: memory.New()}
	var err error
	if c.p, err = stateful.NewProcessor(stateful.Config{
		App: "bench", Backend: c.backend, Outbox: outbox.New(outbox.Discard()), Logger: slog.New(slog.DiscardHandler), TickEvery: -1,
	}); err != nil {
		return nil, err
	}
	w := (&path{pool: &pool{}, size: window10s, windows: window.Tumbling(window10s), delay: time.Hour}).handler(&c.stats)
	w.PartitionedBySource = true
	return c, c.p.AddTo(nil, w)
}

func (c *closer) close() error { return c.backend.Close() }

// send processes one batch of a partition.
func (c *closer) send(part int, events []event) error {
	recs := make([]stateful.Record, len(events))
	p := pool{}
	for i, e := range events {
		b := make([]byte, eventBytes)
		p.write(b, []byte(e.User), e.Amount)
		putBinaryTime(b, e.At)
		recs[i] = stateful.Record{Value: b, Time: e.At, Offset: c.next[part] + int64(i)}
	}
	start := c.next[part]
	c.next[part] += int64(len(recs))
	return c.p.Process(context.Background(), "count", stateful.Batch{
		Partition: stateful.Partition{Topic: inputTopic, Index: int32(part)}, Log: logID, Start: start, End: c.next[part], Records: recs,
	})
}

// open opens n windows, one for each key.
func (c *closer) open(n int) error {
	batch := make([]event, 0, loopBatch)
	for i := 0; i < n; i += len(batch) {
		batch = batch[:0]
		for k := i; k < min(n, i+loopBatch); k++ {
			batch = append(batch, event{At: epoch + int64(k%10_000), User: string(keyName(nil, k))})
		}
		if err := c.send(0, batch); err != nil {
			return err
		}
	}
	return nil
}

// watch calls do while the other partitions go on. It returns how long it took, the longest time between two
// batches of one of those, the heap at its begin and how much more it came to.
func (c *closer) watch(do func() error) (took, gap time.Duration, heap, more float64, err error) {
	var wg sync.WaitGroup
	c.stop.Store(false)
	gaps, errs := make([]time.Duration, partitions), make([]error, partitions)
	for part := 1; part < partitions; part++ {
		wg.Go(func() { gaps[part], errs[part] = c.goOn(part) })
	}
	heap = liveHeap()
	most := heap
	wg.Go(func() {
		for !c.stop.Load() {
			most = max(most, liveHeap())
			time.Sleep(5 * time.Millisecond)
		}
	})
	begin := time.Now()
	err = do()
	took = time.Since(begin)
	c.stop.Store(true)
	wg.Wait()
	for part := range gaps {
		gap = max(gap, gaps[part])
	}
	return took, gap, heap, most - heap, errors.Join(err, errors.Join(errs...))
}

// goOn sends a small batch every millisecond, and returns the longest time between two.
func (c *closer) goOn(part int) (gap time.Duration, err error) {
	batch := make([]event, 32)
	last := time.Now()
	for !c.stop.Load() {
		for i := range batch {
			batch[i] = event{At: epoch + c.next[part], User: string(keyName(nil, i))}
		}
		if err := c.send(part, batch); err != nil {
			return gap, err
		}
		now := time.Now()
		gap = max(gap, now.Sub(last))
		last = now
		time.Sleep(time.Millisecond)
	}
	return gap, nil
}

// liveHeap returns the bytes of objects that were not freed yet.
func liveHeap() float64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64())
}
