package stateful

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Processor runs handlers exactly once over what a source delivers. Make one
// with [NewProcessor], add handlers, then Run it. Its methods may be called by
// several goroutines, except that AddTo comes before Run.
type Processor struct {
	cfg      Config
	taking   context.Context // ends when intake must end
	draining <-chan struct{} // closed when it does
	drain    context.CancelFunc
	working  context.Context // ends when what was forwarded is worked off
	drained  <-chan struct{} // closed when it does
	worked   context.CancelFunc
	closing  sync.Once
	intakes  sync.WaitGroup
	tenures  sync.WaitGroup
	crew     crew

	mu      sync.Mutex
	regs    []*registration
	tasks   map[TaskID]*Task
	busy    int                     // envelopes in hand
	quiet   chan struct{}           // closed, when someone waits for it, once busy is 0
	waiting map[*registration]error // why there is no lease
	stopErr error
	stopped chan struct{}
	running bool
	closed  bool
}

// NewProcessor returns a processor. It names every fault of c at once.
func NewProcessor(c Config) (*Processor, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("stateful: %w", err)
	}
	p := &Processor{
		cfg:     c,
		tasks:   make(map[TaskID]*Task),
		waiting: make(map[*registration]error),
		stopped: make(chan struct{}),
	}
	p.taking, p.drain = context.WithCancel(context.Background())
	p.working, p.worked = context.WithCancel(context.Background())
	p.draining, p.drained = p.taking.Done(), p.working.Done()
	p.crew.p = p
	return p, nil
}

// Process runs a batch through the handler of that name and returns once what it did is
// durable. The task is opened at first use. Batches of one partition must be
// passed in order, one after the other; what they emit is relayed as soon as it
// is committed.
//
// It returns the handler's error when no policy in ctx says otherwise; nothing of the failed
// record took effect then, and the batch can be passed again.
func (p *Processor) Process(ctx context.Context, handler string, b Batch) error {
	reg := p.registered(handler)
	if reg == nil {
		return fmt.Errorf("stateful: no handler is named %q: add it with AddTo first", handler)
	}
	return p.process(ctx, p.task(reg, b.Partition.Index), &b)
}

// Tick gives every open task of a handler its due work: processing-time timers, and rows
// to trim. Run does so by itself every TickEvery.
func (p *Processor) Tick(ctx context.Context, handler string) error {
	reg := p.registered(handler)
	if reg == nil {
		return fmt.Errorf("stateful: no handler is named %q: add it with AddTo first", handler)
	}
	var errs []error
	for _, t := range p.tasksOf(reg) {
		errs = append(errs, p.process(ctx, t, &Batch{Partition: Partition{Index: t.id.Partition}, tick: true}))
	}
	return errors.Join(errs...)
}

// handle is the router's handler function. It leaves all to the crew: see there.
func (p *Processor) handle(reg *registration, msg *message.Message) error {
	ctx := msg.Context()
	if b, ok := BatchFrom(ctx); ok && b.ticket != nil {
		return p.crew.run(ctx, b)
	}
	return p.contextLost(reg)
}

func (p *Processor) contextLost(reg *registration) error {
	p.stop(fmt.Errorf("stateful: handler %q: %w", reg.name, ErrContextLost))
	return ErrContextLost
}

// process does a batch when it is its turn, and returns once what it did is durable.
func (p *Processor) process(ctx context.Context, t *Task, b *Batch) error {
	if !p.enter() {
		return ErrClosed
	}
	defer p.leave()
	if b.ticket != nil {
		if err := b.ticket.await(ctx); err != nil {
			if errors.Is(err, errSwallowed) {
				p.stop(err)
			}
			return err
		}
	}
	f, err := p.turn(ctx, t, b)
	if err == nil {
		if b.ticket != nil {
			b.ticket.pass()
		}
		if f != nil {
			err = t.await(f)
		}
	}
	if err != nil {
		t.setback(ctx, b, err)
	}
	return err
}

// turn runs the batch when it is its turn.
func (p *Processor) turn(ctx context.Context, t *Task, b *Batch) (_ *flight, err error) {
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if errors.Is(err, ErrFenced) {
			t.fenced(err) // whoever says so, store or sink, and before the turn is another's
		}
		t.give()
	}()
	if b.ticket != nil {
		if err := b.ticket.lost(); err != nil {
			return nil, err
		}
	}
	if err := t.ensureOpen(ctx); err != nil {
		return nil, err
	}
	f, err := t.run(ctx, b)
	if err == nil {
		t.hold()
		if t.failures.Swap(0) > 0 {
			p.report(t, waitsForTask, "")
		}
	}
	return f, err
}

func (p *Processor) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.busy++
	return true
}

func (p *Processor) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy--; p.busy == 0 && p.quiet != nil {
		close(p.quiet)
		p.quiet = nil
	}
}

// task returns the task of a partition, making it when needed.
func (p *Processor) task(reg *registration, partition int32) *Task {
	id := TaskID{App: p.cfg.App, Handler: reg.name, Partition: partition}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[id]
	if t == nil {
		t = newTask(p, reg, partition)
		p.tasks[id] = t
	}
	return t
}

// drop takes a task out of the processor.
func (p *Processor) drop(reg *registration, partition int32) *Task {
	id := TaskID{App: p.cfg.App, Handler: reg.name, Partition: partition}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tasks[id]
	delete(p.tasks, id)
	return t
}

func (p *Processor) tasksOf(reg *registration) []*Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Task
	for _, t := range p.tasks {
		if reg == nil || t.reg == reg {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *Task) int { return int(a.id.Partition) - int(b.id.Partition) })
	return out
}

func (p *Processor) registered(name string) *registration {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.regs {
		if r.name == name {
			return r
		}
	}
	return nil
}

// stop ends Run with err. Only the first counts.
func (p *Processor) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopErr == nil {
		p.stopErr = err
		close(p.stopped)
		p.cfg.Logger.Error("processor stops", "app", p.cfg.App, "reason", err)
	}
}
