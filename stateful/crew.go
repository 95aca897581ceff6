package stateful

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
)

// crew runs batches on goroutines that have done so before. Watermill starts a goroutine
// for every message, whose stack is too small for what a transaction calls: growing it
// again for each message costs 2 us, four times as much as to let another goroutine do the work.
type crew struct {
	p *Processor

	mu     sync.Mutex
	idle   []*worker // the last one to work is the next: its stack is in the cache
	closed bool
}

// worker does one piece of work after another for those who took it from the crew.
type worker struct {
	in, out chan struct{}

	ctx   context.Context
	batch *Batch
	err   error
	gone  bool // its goroutine was ended
}

// run has a batch processed. Its callers' stacks are nearly full: what it calls is
// little, and calls nothing.
func (c *crew) run(ctx context.Context, b *Batch) error {
	w := c.take()
	w.ctx, w.batch = ctx, b
	w.in <- struct{}{}
	<-w.out // it ends when ctx does
	err := w.err
	c.give(w)
	return err
}

func (c *crew) take() *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		w := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return w
	}
	w := &worker{in: make(chan struct{}), out: make(chan struct{})}
	go w.work(c.p)
	return w
}

func (c *crew) give(w *worker) {
	w.ctx, w.batch, w.err = nil, nil, nil
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case w.gone:
	case c.closed:
		close(w.in)
	default:
		c.idle = append(c.idle, w)
	}
}

// close ends the workers, those that are at work once they have finished.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, w := range c.idle {
		close(w.in)
	}
	c.idle = nil
}

// errGoexit is what became of a batch whose handler ended its goroutine.
var errGoexit = errors.New("stateful: a handler called runtime.Goexit (a test's Fatal does): return an error instead")

func (w *worker) work(p *Processor) {
	atWork := false
	defer func() {
		if atWork {
			w.gone, w.err = true, w.batch.task.breakdown(errGoexit)
			w.out <- struct{}{}
		}
	}()
	for range w.in {
		atWork = true
		w.try(p)
		atWork = false
		w.out <- struct{}{}
	}
}

// try turns a panic, which comes from the middle of anything, into an error.
func (w *worker) try(p *Processor) {
	defer func() {
		if v := recover(); v != nil {
			w.err = w.batch.task.breakdown(&PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	// Its task is not looked up by its name: one that was revoked meanwhile must stay closed.
	w.err = p.process(w.ctx, w.batch.task, w.batch)
}
