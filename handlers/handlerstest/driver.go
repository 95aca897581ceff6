package handlerstest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// DeadLetterTopic is where records that failed for good go, unless [Configure]
// names another.
const DeadLetterTopic = "dead-letters"

// Option changes a [Driver] that is being made.
type Option func(*kit)

// StartAt sets the clock. Without it the time is 2026-01-01 00:00:00 UTC.
func StartAt(at time.Time) Option { return func(k *kit) { k.now = at } }

// With adds a handler. What it reads may be what another emits: outputs flow on
// until none is left.
func With(h stateful.Handler) Option { return func(k *kit) { k.handlers = append(k.handlers, h) } }

// On puts the state on b instead of a new backend in memory; b stays the caller's.
// A driver on a backend that was used before reads its input again from the
// start: what the state has seen is dropped, and what was published is not emitted again.
func On(b stateful.Backend) Option { return func(k *kit) { k.backend = b } }

// InBatchesOf cuts what is sent into batches of at most n records. Without it what
// is sent together is one batch.
func InBatchesOf(n int) Option { return func(k *kit) { k.batch = n } }

// Failing sets what happens to records that fail. Without it they are tried three times more,
// without waiting, and then dead-lettered.
func Failing(p stateful.Policy) Option { return func(k *kit) { k.policy = p } }

// Configure changes the processor's configuration; what the kit itself needs (source,
// backend, outbox, clock) is set after it.
func Configure(f func(*stateful.Config)) Option {
	return func(k *kit) { k.configure = append(k.configure, f) }
}

// Driver steps handlers. A Driver must not be used from several goroutines.
// When a step fails, the test does.
type Driver struct {
	*kit
	partition int32
}

// kit is what all views of a Driver share.
type kit struct {
	t         T
	handlers  []stateful.Handler
	backend   stateful.Backend
	policy    stateful.Policy
	configure []func(*stateful.Config)
	batch     int

	now    time.Time
	broker broker
	armed  armed
	life   *life
	ended  bool

	deadLetters string // their topic
}

// New returns a driver of h.
func New(t T, h stateful.Handler, opts ...Option) *Driver {
	t.Helper()
	k := &kit{
		t:        t,
		handlers: []stateful.Handler{h},
		policy:   stateful.Policy{Retry: &stateful.Retry{Retries: 3, OnExhausted: stateful.DeadLetter}},
		now:      time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		broker:   newBroker(),
	}
	for _, o := range opts {
		o(k)
	}
	if k.backend == nil {
		k.backend = memory.New()
	}
	for _, h := range k.handlers {
		for _, topic := range h.Inputs() {
			k.broker.subscribe(h.HandlerName(), stateful.Partition{Topic: topic})
		}
	}
	k.start()
	return &Driver{kit: k}
}

// start makes a processor and opens its tasks, as a source that assigns partitions does.
func (k *kit) start() {
	k.t.Helper()
	for {
		l := newLife(k)
		cfg := stateful.Config{
			App: "kit", DeadLetterTo: DeadLetterTopic, TickEvery: -1,
			Logger: slog.New(slog.DiscardHandler),
		}
		for _, f := range k.configure {
			f(&cfg)
		}
		cfg.Source, cfg.Backend, cfg.Outbox = source{k}, l.backend(k.backend), l.outbox()
		cfg.Now = func() time.Time { return k.now }
		p, err := stateful.NewProcessor(cfg)
		if err == nil {
			err = p.AddTo(nil, k.handlers...)
		}
		if err != nil {
			k.t.Fatal(err)
			return
		}
		l.p, k.life, k.deadLetters = p, l, cfg.DeadLetterTo
		for _, c := range k.broker.consumers {
			k.run(c.handler, c.batch(nil, false))
		}
		if !l.dead.Load() {
			return
		}
		l.end()
	}
}

// Now returns the kit's clock.
func (d *Driver) Now() time.Time { return d.now }

// OnPartition returns a view of d that sends to partition n of each topic; d itself
// sends to 0. The kit's source promises that its partitions follow the keys, so whether Key selects the partition that a
// record came from (O4) is not checked here: a processor on a real source does.
func (d *Driver) OnPartition(n int32) *Driver { return &Driver{kit: d.kit, partition: n} }

// Send appends events to the first input of the first handler and processes them.
// A []byte is a record's value as it is, a [stateful.Record] is itself (its Offset
// is the kit's to give), anything else is encoded as JSON. A record's time is the clock's.
func (d *Driver) Send(events ...any) {
	d.t.Helper()
	d.SendTo(d.handlers[0].Inputs()[0], events...)
}

// SendTo is Send to a topic.
func (d *Driver) SendTo(topic string, events ...any) {
	d.t.Helper()
	if d.ended {
		d.t.Fatal("handlerstest: End was called: nothing can be sent any more")
	}
	part := stateful.Partition{Topic: topic, Index: d.partition}
	if !d.broker.read(topic) {
		d.t.Fatalf("handlerstest: no handler reads topic %q", topic)
	}
	for _, h := range d.handlers {
		if slices.Contains(h.Inputs(), topic) {
			d.broker.subscribe(h.HandlerName(), part)
		}
	}
	for _, e := range events {
		rec, err := d.record(e)
		if err != nil {
			d.t.Fatalf("handlerstest: event %#v: %v", e, err)
		}
		d.broker.append(part, rec)
	}
	d.pump()
}

func (k *kit) record(event any) (stateful.Record, error) {
	rec := stateful.Record{Time: k.now.UnixMilli()}
	switch e := event.(type) {
	case []byte:
		rec.Value = e
	case stateful.Record:
		rec = e
		if rec.Time == 0 {
			rec.Time = k.now.UnixMilli()
		}
	default:
		b, err := json.Marshal(e)
		if err != nil {
			return rec, err
		}
		rec.Value = b
	}
	return rec, nil
}

// Advance moves the clock by d and gives every handler its due work: timers of processing time, and what
// [stateful.Pace] says about inputs that were silent. All were at their end and the handlers ran
// all that time.
func (d *Driver) Advance(by time.Duration) {
	d.t.Helper()
	d.now = d.now.Add(by)
	d.tick()
}

func (k *kit) tick() {
	k.t.Helper()
	for _, h := range k.upstreamFirst() {
		for {
			err := k.life.p.Tick(k.life.ctx, h.HandlerName())
			if k.life.dead.Load() {
				k.reborn()
				continue
			}
			if err == nil {
				break
			}
			if !errors.Is(err, stateful.ErrCommitUnknown) {
				k.t.Fatalf("handlerstest: tick of %q: %v", h.HandlerName(), err)
				return
			}
		}
		k.pump()
	}
}

// End ends the input: every window closes and every event-time timer fires. Nothing
// can be sent after it.
func (d *Driver) End() {
	d.t.Helper()
	d.ended = true
	for _, h := range d.upstreamFirst() {
		for _, c := range slices.Clone(d.broker.consumers) {
			if c.handler == h.HandlerName() {
				d.deliver(c, c.batch(nil, true))
			}
		}
		d.pump()
	}
}

// upstreamFirst orders the handlers so that who emits comes before who reads it.
func (k *kit) upstreamFirst() []stateful.Handler {
	rest, order := slices.Clone(k.handlers), []stateful.Handler(nil)
	for len(rest) > 0 {
		next := 0
		for i, h := range rest {
			if !slices.ContainsFunc(rest, func(up stateful.Handler) bool { return up.HandlerName() != h.HandlerName() && feeds(up, h) }) {
				next = i
				break
			}
		}
		order = append(order, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return order
}

func feeds(up, h stateful.Handler) bool {
	o, ok := up.(stateful.Outputter)
	return ok && slices.ContainsFunc(o.Outputs(), func(topic string) bool { return slices.Contains(h.Inputs(), topic) })
}

// Redeliver delivers the last n records of every input again, as a broker does that
// missed the acknowledgement. The state has seen them, so nothing comes of it.
func (d *Driver) Redeliver(n int) {
	d.t.Helper()
	for _, c := range d.broker.consumers {
		from := max(0, c.next-n)
		d.deliver(c, c.slice(from, c.next))
	}
	d.pump()
}

// Restart drops the processor with all it has in memory, keeps the backend and the sink, and
// opens the tasks again.
func (d *Driver) Restart() {
	d.t.Helper()
	d.life.crash()
	d.reborn()
	d.pump()
}

// Close closes the processor and its stores. It is needed only before the
// backend is used by another one.
func (d *Driver) Close() {
	d.t.Helper()
	if err := d.life.p.Close(context.Background()); err != nil {
		d.t.Fatal(err)
	}
}

// Ready is what the processor says; see [stateful.Processor.Ready].
func (d *Driver) Ready() error { return d.life.p.Ready() }

func (k *kit) reborn() {
	k.life.end()
	k.start()
}

// pump delivers until every consumer has read its input to the end.
func (k *kit) pump() {
	k.t.Helper()
	for again := true; again; {
		again = false
		for _, c := range slices.Clone(k.broker.consumers) {
			for c.next < len(*c.log) {
				end := len(*c.log)
				if k.batch > 0 {
					end = min(end, c.next+k.batch)
				}
				k.deliver(c, c.slice(c.next, end))
				c.next, again = end, true
			}
		}
	}
}

// deliver delivers a batch until it is acknowledged.
func (k *kit) deliver(c *consumer, b stateful.Batch) {
	k.t.Helper()
	for !k.run(c.handler, b) {
		if k.life.dead.Load() {
			k.reborn()
		}
	}
}

// maxDeliveries bounds how often the kit delivers a batch whose commit's outcome was lost.
const maxDeliveries = 1000

// run processes b and reports whether it is acknowledged; not when the processor died.
func (k *kit) run(handler string, b stateful.Batch) bool {
	k.t.Helper()
	for range maxDeliveries {
		lent, giveBack := lend(b)
		err := k.life.p.Process(k.life.ctx, handler, lent)
		giveBack()
		switch {
		case k.life.dead.Load():
			return false
		case err == nil:
			return true
		case !errors.Is(err, stateful.ErrCommitUnknown):
			k.t.Fatalf("handlerstest: handler %q: %v", handler, err)
			return true
		}
	}
	k.t.Fatalf("handlerstest: handler %q: a batch was delivered %d times and its commit was lost every time", handler, maxDeliveries)
	return true
}
