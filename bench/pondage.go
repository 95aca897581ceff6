package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/window"
)

// path is the whole path: a source, the router with its middlewares, the processor, a
// tumbling count, a backend, an outbox and a sink.
type path struct {
	pool    *pool
	size    time.Duration
	windows window.Windows // instead of tumbling ones of size
	delay   time.Duration
	change  func(*handlers.Window[event, int64]) // has the last word on the handler
	fired   *uint64                              // set to the number of results
	stored  bool                                 // results are stored, relayed and added up; otherwise discarded at once
	// backend opens what keeps the state; nil is memory. close is called after the run.
	backend func() (b stateful.Backend, close func() error, err error)
	prepare func(*source)
	sink    func(rows []stateful.Row) // instead of the tally
}

func (c *path) handler(stats *handlers.Stats) handlers.Window[event, int64] {
	w := handlers.Window[event, int64]{
		Name: "count", From: inputTopic, To: outputTopic,
		Key:       func(e event) string { return e.User },
		Time:      func(e event) time.Time { return time.UnixMilli(e.At) },
		Windows:   window.Tumbling(c.size),
		MaxDelay:  c.delay,
		Aggregate: handlers.Count[event](),
		Stats:     stats,
	}
	if c.windows != nil {
		w.Windows = c.windows
	}
	if !c.pool.json {
		w.In = binaryCodec{}
	}
	if c.change != nil {
		c.change(&w)
	}
	return w
}

// run sends about total events through and checks that each was counted once. during, when
// given, is called when all are acked and the processor still lives.
func (c *path) run(total int64, w *stopwatch, during func() error) (sample, error) {
	backend, closeBackend, err := c.open()
	if err != nil {
		return sample{}, err
	}
	src := newSource(c.pool, total)
	if c.prepare != nil {
		c.prepare(src)
	}
	want := c.pool.exact(total)
	out, stats := newTally(want), new(handlers.Stats)
	proc, err := stateful.NewProcessor(stateful.Config{
		App: "bench", Source: src, Backend: backend, Outbox: outbox.New(c.sinkTo(out)), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return sample{}, err
	}
	router, err := newRouter()
	if err != nil {
		return sample{}, err
	}
	if err := proc.AddTo(router, c.handler(stats)); err != nil {
		return sample{}, err
	}
	var s sample
	err = processing(proc, router, func(ctx context.Context) error {
		w.start()
		err := src.wait(ctx)
		if err == nil && c.stored && c.sink == nil {
			err = out.wait(ctx)
		}
		s = w.stop(want)
		if err == nil && during != nil {
			err = during()
		}
		return err
	})
	n := stats.Read()
	if c.fired != nil {
		*c.fired = n.Fired
	}
	return s, errors.Join(err, c.check(n, out, want), closeBackend())
}

func (c *path) open() (stateful.Backend, func() error, error) {
	if c.backend != nil {
		return c.backend()
	}
	b := memory.New()
	return b, b.Close, nil
}

func (c *path) sinkTo(out *tally) outbox.Sink {
	switch {
	case c.sink != nil:
		return &sink{take: c.sink}
	case c.stored:
		return &sink{take: func(rows []stateful.Row) {
			for i := range rows {
				out.add(rows[i].Payload)
			}
		}}
	}
	return outbox.Discard()
}

// check compares what was counted with what was sent.
func (c *path) check(n handlers.Counts, out *tally, want int64) error {
	if n.Folded != uint64(want) || n.Late != 0 {
		return fmt.Errorf("sent %d events, %d were folded and %d late", want, n.Folded, n.Late)
	}
	if c.stored && c.sink == nil {
		return out.check()
	}
	return nil
}

// sink hands rows to a function. It keeps no cursor: a run that fails is not gone on with.
type sink struct{ take func([]stateful.Row) }

func (*sink) Traits() stateful.SinkTraits {
	return stateful.SinkTraits{Name: "bench", FIFO: true, Domain: stateful.DomainProcess}
}
func (*sink) Check(*stateful.Row) error { return nil }
func (*sink) Recover(context.Context, stateful.Producer, []stateful.Prepared) (outbox.Cursor, error) {
	return outbox.Cursor{}, nil
}

func (s *sink) Commit(_ context.Context, _ stateful.Producer, rows []stateful.Row) (int, error) {
	s.take(rows)
	return len(rows), nil
}
func (*sink) Close() error { return nil }

// onPebble opens a new database in dir, with synced commits.
func onPebble(dir string) func() (stateful.Backend, func() error, error) {
	return func() (stateful.Backend, func() error, error) {
		tmp, remove, err := tempDir(dir)
		if err != nil {
			return nil, nil, err
		}
		b, err := pebble.New(context.Background(), pebble.Config{Dir: tmp})
		if err != nil {
			return nil, nil, errors.Join(err, remove())
		}
		return b, func() error { return errors.Join(b.Close(), remove()) }, nil
	}
}
