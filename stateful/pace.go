package stateful

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

// Pace says what becomes of a handler's inputs that fall silent, or run ahead of each
// other. A field that is 0 has the value of [Config.Pace]; 0 there, and anything
// negative, is off.
//
// An input is silent when nothing of it arrived, though the task had read it to its end
// and ran all that time: neither what a task that waits or was just opened did not
// hear, nor what is held back, counts as silence. It is looked at with every
// tick. What was decided is part of the commit; a replay from the start of the input
// may decide otherwise, and [Processor.Guarantee] says so.
type Pace struct {
	// IdleAfter is how long an input may be silent and still hold the watermark
	// back. After that the others alone make it, and the input counts again once its own
	// watermark has caught up. When all of several inputs are idle the watermark is
	// the highest of theirs.
	IdleAfter time.Duration
	// FlushAfter is how long all inputs may be silent before what is open is
	// finished: the watermark moves to where [Flusher] says, or, of a handler that has timers and
	// is no Flusher, to its last event-time timer, once for every silence. What comes later for it is late.
	FlushAfter time.Duration
	// MaxSkew is how far, in event time, an input may be ahead of the slowest one that is not
	// idle. What arrives of it beyond that, and beyond the batches that were under
	// way, waits before the router and its source with it. An input that never had
	// an event is the slowest, so with inputs that may be silent set IdleAfter too. It is
	// for inputs of a router: [Processor.Process] takes them in the order it is called.
	MaxSkew time.Duration
}

// Paced is implemented by handlers that set a pace of their own.
type Paced interface{ Pace() Pace }

// EndTeller is implemented by subscribers that have positions and know where their logs
// end. Without it nobody can tell a silent input from one that lags, so IdleAfter and
// FlushAfter are refused with a router. A log answers from what it has stored; a client of a
// broker from what its last fetch said (Kafka: the high watermark; Redis Streams: a
// blocking read that returned nothing), and false before there was one or after it failed.
type EndTeller interface {
	// AtEnd reports whether there is nothing in p beyond pos, delivered or not. The zero Position
	// is the beginning. It must not block, and may be called by several goroutines.
	AtEnd(p Partition, pos Position) bool
}

// silentTicks is how many ticks may be missing before the task is taken not to have run: the
// process was suspended, or its clock was set.
const silentTicks = 10

func (p *Processor) newSilence(r *registration) *window.Silence {
	return window.NewSilence(len(r.handler.Inputs()), max(0, silentTicks*p.cfg.TickEvery.Milliseconds()))
}

// setPace gives r its pace and says what is wrong with it.
func (p *Processor) setPace(r *registration, byRouter bool) error {
	var own Pace
	if h, ok := r.handler.(Paced); ok {
		own = h.Pace()
	}
	var errs []error
	pick := func(name string, own, other time.Duration) int64 {
		d := max(0, cmp.Or(own, other))
		if d%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("%s %v is not a whole number of milliseconds: times are, so round it", name, d))
		}
		return d.Milliseconds()
	}
	r.idleAfter = pick("IdleAfter", own.IdleAfter, p.cfg.Pace.IdleAfter)
	r.flushAfter = pick("FlushAfter", own.FlushAfter, p.cfg.Pace.FlushAfter)
	r.maxSkew = pick("MaxSkew", own.MaxSkew, p.cfg.Pace.MaxSkew)
	if len(r.handler.Inputs()) < 2 {
		r.idleAfter, r.maxSkew = 0, 0 // there is nothing to wait for
	}
	r.ender, _ = r.src.(EndTeller)
	if !r.listens() || !byRouter {
		return errors.Join(errs...)
	}
	if r.traits.Position && r.ender == nil {
		errs = append(errs, errors.New("IdleAfter and FlushAfter need a source that knows where its logs end (stateful.EndTeller), and this one does not: leave them 0"))
	}
	if p.cfg.TickEvery < 0 {
		errs = append(errs, errors.New("IdleAfter and FlushAfter are looked at with every tick: set TickEvery to 0 or more"))
	}
	return errors.Join(errs...)
}

// listens reports whether silences matter.
func (r *registration) listens() bool { return r.idleAfter > 0 || r.flushAfter > 0 }

// heard takes note of an arrival.
func (t *Task) heard(input int, b *Batch) {
	if !t.reg.listens() {
		return
	}
	now := t.tx.Now().UnixMilli()
	t.silence.Listen(now)
	if len(b.Records) > 0 {
		t.silence.Heard(input, now)
		t.flushed = false
	}
}

// listen decides, at the tick b, which inputs are idle and whether what is open is
// finished. The decision is part of the transaction.
func (t *Task) listen(ctx context.Context, pol *Policy, b *Batch) error {
	if !t.reg.listens() {
		return nil
	}
	now := t.tx.Now().UnixMilli()
	before, flush := t.wm.Now(), t.reg.flushAfter > 0
	for i := range t.meta.inputs {
		if t.wm.Max(i) == window.Forever {
			continue
		}
		if t.ahead[i].Load() || !t.atEnd(i, b) {
			t.silence.Heard(i, now)
		}
		silent := t.silence.Of(i, now)
		flush = flush && silent >= t.reg.flushAfter
		if t.reg.idleAfter > 0 && silent >= t.reg.idleAfter && t.wm.State(i) != window.Idle {
			t.wm.Idle(i)
			t.changed = true
		}
	}
	wm := t.wm.Now()
	if wm > before {
		if err := t.moved(ctx, pol); err != nil {
			return err
		}
	}
	if !flush {
		return nil
	}
	to, err := t.flushTo(ctx)
	if err != nil || to <= wm {
		return err
	}
	t.meta.flushing = true
	t.wm.Flush(to)
	t.changed = true
	return t.moved(ctx, pol)
}

// flushTo returns the watermark that finishes what is open; window.Never when nothing is.
func (t *Task) flushTo(ctx context.Context) (int64, error) {
	if f, ok := t.inst.(Flusher); ok {
		return f.FlushTo(), nil
	}
	// A timer may set the next one: without an event that would go on with every tick.
	if t.flushed || t.nextTimer == math.MaxInt64 {
		return window.Never, nil
	}
	to, prefix := int64(window.Never), spaceTimer+string(rune(EventTime))
	for e, err := range t.tx.scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return to, err
		}
		timer, err := parseTimerKey(e.Key)
		if err != nil {
			return to, TaskFault(err)
		}
		to = timer.Time
	}
	t.flushed = true
	return to, nil
}

// moved fires what became due, by other means than a record.
func (t *Task) moved(ctx context.Context, pol *Policy) error {
	if wm := t.wm.Now(); !t.due(wm) {
		t.meta.advanced, t.meta.flushing = wm, false
		return nil
	}
	return t.advance(ctx, pol)
}

// atEnd reports whether the task has seen all there is of an input, at the tick b.
func (t *Task) atEnd(input int, b *Batch) bool {
	in := &t.meta.inputs[input]
	switch {
	case t.reg.ender != nil:
		return t.reg.ender.AtEnd(Partition{in.topic, t.id.Partition}, in.pos)
	case b.ticket == nil:
		return true // who passes batches by hand has none under way
	}
	return !t.tickets.inHand(b.ticket, in.topic)
}

// hold decides which inputs wait for the others (O7).
func (t *Task) hold() {
	if t.reg.maxSkew == 0 {
		return
	}
	for i := range t.ahead {
		t.setAhead(i, t.wm.Ahead(i) > t.reg.maxSkew)
	}
	if isClosed(t.leaving) {
		t.letGo() // it may have been let go just before
	}
}

// letGo holds nothing back any more.
func (t *Task) letGo() {
	for i := range t.ahead {
		t.setAhead(i, false)
	}
}

func (t *Task) setAhead(input int, ahead bool) {
	if t.ahead[input].Swap(ahead) && !ahead {
		select {
		case t.reg.goOn[input] <- struct{}{}:
		default:
		}
	}
}
