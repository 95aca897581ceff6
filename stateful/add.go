package stateful

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
)

// From returns h as a handler that reads src instead of the processor's source.
func From(src message.Subscriber, h Handler) Handler { return sourced{h, src} }

type sourced struct {
	Handler
	src message.Subscriber
}

// AddTo adds handlers, to the router as well when it is not nil; without one,
// records come by [Processor.Process]. It comes before Run. It names all faults
// of all handlers at once, each with its remedy, and adds none when there is any.
func (p *Processor) AddTo(router *message.Router, handlers ...Handler) error {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	if running {
		return errors.New("stateful: AddTo comes before Run")
	}
	taken := make(map[string]bool)
	if router != nil {
		for name := range router.Handlers() {
			taken[name] = true
		}
	}
	p.mu.Lock()
	for _, r := range p.regs {
		taken[r.name] = true
	}
	p.mu.Unlock()
	a := addition{router: router, taken: taken, known: maps.Clone(taken), stored: p.storedPlans()}
	for i, h := range handlers {
		if s, ok := h.(sourced); h == nil || ok && s.Handler == nil {
			return fmt.Errorf("stateful: handler %d of this call is nil", i)
		}
		a.known[h.HandlerName()] = true
	}
	var errs []error
	var regs []*registration
	for _, h := range handlers {
		r, err := p.register(&a, h)
		errs = append(errs, err)
		regs = append(regs, r)
	}
	if err := errors.Join(errs...); err != nil {
		for _, r := range regs {
			if r.attached {
				err = errors.Join(err, r.src.Close())
			}
		}
		return err
	}
	for _, r := range regs {
		p.add(router, r)
	}
	return nil
}

// addition is what one call of AddTo knows.
type addition struct {
	router *message.Router
	taken  map[string]bool         // names of handlers, those of this call up to the one in hand
	known  map[string]bool         // and those behind it
	stored map[string]*storedTasks // by name of the handler
}

func (p *Processor) register(a *addition, h Handler) (*registration, error) {
	router, taken := a.router, a.taken
	src := p.cfg.Source
	if s, ok := h.(sourced); ok {
		h, src = s.Handler, s.src
	}
	r := &registration{
		name: h.HandlerName(), handler: h, src: src,
		group:  p.cfg.App + "." + h.HandlerName(),
		sinkOf: make(map[string]string),
		tick:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
	for range h.Inputs() {
		r.goOn = append(r.goOn, make(chan struct{}, 1))
	}
	r.listener, _ = src.(CommitListener)
	var errs []error
	if !handlerName.MatchString(r.name) {
		errs = append(errs, fmt.Errorf("Name is %q; it must match %s", r.name, handlerName))
	}
	if taken[r.name] {
		errs = append(errs, errors.New("the name is taken by another handler: names are the identity of state, so each needs its own"))
	}
	taken[r.name] = true
	for i, topic := range h.Inputs() {
		if name := r.routerName(i, topic); i > 0 && taken[name] {
			errs = append(errs, fmt.Errorf("the router has another handler called %q: name it otherwise", name))
		}
	}
	errs = append(errs, p.validate(r, a))
	if d, ok := h.(OutOfOrderness); ok {
		if r.delay = d.WatermarkDelay().Milliseconds(); r.delay < 0 {
			errs = append(errs, errors.New("MaxDelay is negative: leave it 0 for input in order"))
		}
	}
	errs = append(errs, r.checkInputs(router), p.checkOutputs(r))
	r.learn(r.src)
	if router != nil && errors.Join(errs...) == nil {
		errs = append(errs, p.attach(r))
	}
	errs = append(errs, r.checkKeys(p.cfg.Source == nil && router == nil), p.setPace(r, router != nil), p.checkDomain(r))
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("stateful: handler %q: %w", r.name, err)
	}
	if p.cfg.Delivery == DeliverExactlyOnce {
		if g := p.guarantee(r); g.Level != ExactlyOnce {
			return r, fmt.Errorf("stateful: handler %q: Delivery asks for exactly once and the chain gives %s", r.name, g)
		}
	}
	return r, nil
}

// validate asks the handler what is wrong with it and with its plan.
func (p *Processor) validate(r *registration, a *addition) error {
	var err error
	if v, ok := r.handler.(Validator); ok {
		err = v.Validate()
	}
	return errors.Join(err, p.checkPlan(r, a))
}

func (r *registration) checkInputs(router *message.Router) error {
	var errs []error
	inputs := r.handler.Inputs()
	if len(inputs) == 0 {
		errs = append(errs, errors.New("it reads nothing: name at least one input topic"))
	}
	for i, topic := range inputs {
		if topic == "" {
			errs = append(errs, errors.New("an input topic is empty"))
		}
		if slices.Contains(inputs[:i], topic) {
			errs = append(errs, fmt.Errorf("input %q is named twice", topic))
		}
	}
	if router != nil && r.src == nil {
		errs = append(errs, errors.New("Config.Source is required with a router"))
	}
	return errors.Join(errs...)
}

func (p *Processor) checkOutputs(r *registration) error {
	var errs []error
	if o, ok := r.handler.(Outputter); ok {
		for _, topic := range o.Outputs() {
			if topic == "" {
				errs = append(errs, errors.New("an output topic is empty"))
				continue
			}
			if p.cfg.Outbox == nil {
				errs = append(errs, fmt.Errorf("it emits to %q: Config.Outbox is required", topic))
				continue
			}
			if err := p.cfg.Outbox.Accepts(topic); err != nil {
				errs = append(errs, fmt.Errorf("output %q: %w", topic, err))
			}
			if !slices.Contains(r.outputs, topic) {
				r.outputs = append(r.outputs, topic)
			}
		}
	}
	if d := p.cfg.DeadLetterTo; d != "" && slices.Contains(r.handler.Inputs(), d) {
		errs = append(errs, fmt.Errorf("DeadLetterTo is %q, which it reads: what failed would come back to it for ever; name another topic", d))
	}
	if d := p.cfg.DeadLetterTo; d != "" && !slices.Contains(r.outputs, d) {
		r.outputs = append(r.outputs, d)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, topic := range r.outputs {
		r.sinkOf[topic] = p.cfg.Outbox.SinkTraits(topic).Name
	}
	return nil
}

// checkKeys finds out how keys follow the source's partitions (O4). byHand: batches
// come by Process, and the caller knows.
func (r *registration) checkKeys(byHand bool) error {
	k, ok := r.handler.(KeyFollower)
	if !ok || !k.HasKey() || k.KeysFollowSource() || byHand {
		return nil
	}
	r.partitioner, r.partitions = r.traits.Partitioner, r.traits.Partitions
	if r.traits.Position && r.partitioner == nil && r.partitions != 1 {
		return errors.New("the source does not say how it spreads keys over its partitions, so state of one key may be split: " +
			"set PartitionedBySource if its partitions follow Key")
	}
	return nil
}

// routerName is how the router calls what serves an input.
func (r *registration) routerName(i int, topic string) string {
	if i == 0 {
		return r.name
	}
	return r.name + "/" + topic
}

// attach gives the handler a subscriber of its own, when the source has any, and learns what
// the source can do. Nothing is delivered before the router runs.
func (p *Processor) attach(r *registration) error {
	src, ok := r.src.(Source)
	if !ok {
		return nil
	}
	own, err := src.Attach(r.group, r.handler.Inputs(), owner{p, r})
	if err != nil {
		return fmt.Errorf("attach to its source: %w", err)
	}
	r.learn(own)
	r.src, r.attached = own, true
	return nil
}

// declared is a subscriber that says what it can do. An attached one speaks for
// the handler's inputs, its source for all topics.
type declared interface{ Traits() SourceTraits }

// learn takes over what src says of itself, if it does.
func (r *registration) learn(src message.Subscriber) {
	if d, ok := src.(declared); ok {
		r.traits, r.declares = d.Traits(), true
	}
}

// keepsPositions reports whether what b knows of the source's positions lives as long as the source: else the next
// process begins anew, and the source must keep what this one has read (S2).
func (r *registration) keepsPositions(b Backend) bool {
	return b.Domain() != DomainProcess || r.traits.Domain == DomainProcess
}

// add makes the handler known, and adds it to the router.
func (p *Processor) add(router *message.Router, r *registration) {
	p.mu.Lock()
	p.regs = append(p.regs, r)
	if leaser, ok := p.cfg.Backend.(Leaser); ok && router != nil && !r.attached {
		r.tenure = newTenure(p, r, leaser)
	}
	p.mu.Unlock()
	if router == nil {
		return
	}
	r.routed = true
	for i, topic := range r.handler.Inputs() {
		in := &intake{p: p, reg: r, sub: r.src, attached: r.attached, input: i}
		router.AddConsumerHandler(r.routerName(i, topic), topic, in, func(msg *message.Message) error { return p.handle(r, msg) })
	}
}

// Run restores, starts the relays, ticks and the router, and returns once ctx has ended and
// what was in hand is worked off, or an error stopped it. The router may be nil
// when records come by Process. Run starts and closes the router and closes the
// Outbox; Source and Backend stay the caller's. It can be called once.
func (p *Processor) Run(ctx context.Context, router *message.Router) error {
	p.mu.Lock()
	if p.running || p.closed {
		p.mu.Unlock()
		return errors.New("stateful: Run can be called once")
	}
	p.running = true
	p.mu.Unlock()

	// The router's own context ends only after the drain: it would cancel handlers at once (F2).
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, 1)
	if router != nil {
		go func() { ended <- router.Run(inner) }()
	}
	ticker, stopTicks := ticks(p.cfg.TickEvery)
	defer stopTicks()
	var err error
	for done := false; !done; {
		select {
		case <-ticker:
			p.tickAll()
		case <-ctx.Done():
			done = true
		case <-p.stopped:
			done = true
		case err = <-ended:
			if err == nil {
				err = errors.New("stateful: the router ended before its context")
			}
			router, done = nil, true
		}
	}
	err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	if router != nil {
		err = errors.Join(err, closeRouter(router, cancel, ended))
	}
	if p.cfg.Outbox != nil {
		err = errors.Join(err, p.cfg.Outbox.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.stopErr, err)
}

// closeRouter closes a router once it runs: a Close before that would keep it from starting its
// handlers, and then wait for them. Its context is cancelled only to end a start that hangs; a
// running router takes that for the end of its handlers alone and leaves subscribers open.
func closeRouter(router *message.Router, cancel func(), ended <-chan error) error {
	if !router.IsRunning() {
		cancel()
	}
	select {
	case <-router.Running():
		return errors.Join(router.Close(), <-ended)
	case err := <-ended:
		return err // it never ran
	}
}

func (p *Processor) tickAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.regs {
		select {
		case r.tick <- struct{}{}:
		default:
		}
	}
}

// Close stops the intake, works off what was delivered, waits until it is
// published, all within Config.DrainFor, and closes the tasks. Run does it by
// itself. Calls after the first return nil.
func (p *Processor) Close(ctx context.Context) error {
	var err error
	p.closing.Do(func() { err = p.shutdown(ctx) })
	return err
}

func (p *Processor) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.DrainFor,
		fmt.Errorf("stateful: what was in hand was not done within Config.DrainFor (%v); it will be delivered again", p.cfg.DrainFor))
	defer cancel()
	p.mu.Lock()
	p.drain()
	p.mu.Unlock()
	p.intakes.Wait() // they end at once: nothing they do waits for anything else
	err := p.workOff(ctx)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.crew.close()
	for _, t := range p.tasksOf(nil) {
		err = errors.Join(err, t.finishUp(ctx))
	}
	// Not before: then the router closes the subscribers, and their sources revoke the
	// tasks, which closes those that have not published yet.
	p.worked()
	p.tenures.Wait() // the leases are released once nothing is done under them
	return err
}

// workOff waits until everything forwarded is acked or nacked.
func (p *Processor) workOff(ctx context.Context) error {
	for _, t := range p.tasksOf(nil) {
		if t.tickets.settled(ctx) != nil {
			return context.Cause(ctx)
		}
	}
	p.mu.Lock()
	if p.busy == 0 {
		p.mu.Unlock()
		return nil
	}
	if p.quiet == nil {
		p.quiet = make(chan struct{})
	}
	quiet := p.quiet
	p.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
