package handlers

import (
	"context"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// triggering asks a trigger about one window of one key at a time, and does what it decides.
type triggering[E, A any] struct {
	trigger     Trigger
	mode        EmitMode
	count       int64 // of events in a window of window.Count, else 0
	everlasting bool  // windows of event time have no end
	core        *core[E, A]
	values      *stateful.Table[A]
	states      *stateful.Table[windowState]
	emitted     *stateful.Table[A] // when retracting, the last result of each window; else nil
	left        *leftWindows       // nil: something is kept of all windows
}

// leftWindows are those that a trigger left of which nothing is kept.
type leftWindows struct {
	fired bool  // they fired when they ended, and for every event after that
	since int64 // the watermark when the trigger was changed
	panes *stateful.Table[uint32]
}

// stateOf returns what is to be kept of one.
func (l *leftWindows) stateOf(ctx context.Context, last int64, name []byte) (windowState, error) {
	s := windowState{changed: true, eventAt: unset, clockAt: unset}
	if !l.fired || last > l.since {
		return s, nil
	}
	n, err := l.panes.Load(ctx, name)
	if err != nil {
		return s, err
	}
	s.changed, s.panes = false, 1
	if number, ok := n.Value(); ok {
		s.panes = number
	}
	return s, nil
}

// asked is the window that a trigger is asked about.
type asked[A any] struct {
	window.Span
	key            string
	value          *stateful.Cell[A]
	state          *stateful.Cell[windowState]
	fresh          bool // it had no value before the event in hand
	ended, closing bool
}

// windowState is what is kept of a window beside its value.
type windowState struct {
	panes            uint32 // results so far
	changed          bool   // there are events that no result has
	empty            bool   // the value was forgotten, and no event has come since
	stands           bool   // the last result is in the table of those
	n                uint64 // of the trigger, like the two that follow
	eventAt, clockAt int64  // in ms, unset when there is none
	// Of everlasting windows:
	times, given window.Span // of the events in the value, and of those in the last result
	have, before int64       // number of events in the window, and before it
}

const unset = stateful.NoTime

func newTriggering[E, A any](w Window[E, A], t *stateful.Task, c *core[E, A], values *stateful.Table[A], codec *stateful.StateCodec[A]) (*triggering[E, A], error) {
	states, err := stateful.NewStateCodec(stateful.StateCodecConfig[windowState]{})
	if err != nil {
		return nil, err
	}
	g := &triggering[E, A]{trigger: w.trigger(), mode: w.Emit, core: c, values: values, states: stateful.NewTable(t, "f", states)}
	switch kind := w.Windows.(type) {
	case window.GlobalWindows:
		g.everlasting = true
	case window.CountWindows:
		g.everlasting, g.count = true, int64(kind.N())
	}
	if w.Emit == Retracting {
		g.emitted = stateful.NewTable(t, "r", codec)
	}
	return g, nil
}

// stateOf returns the state of the window named id. cold: the store may have it.
func (g *triggering[E, A]) stateOf(ctx context.Context, id []byte, cold bool) (*stateful.Cell[windowState], error) {
	if c := g.states.Find(id); c != nil {
		return c, nil
	}
	if !cold {
		return g.states.Fresh(id), nil
	}
	return g.states.Load(ctx, id)
}

// warm brings the states of a range of windows into memory.
func (g *triggering[E, A]) warm(ctx context.Context, from, to []byte) error {
	for _, err := range g.states.Cold(ctx, from, to) {
		if err != nil {
			return err
		}
	}
	return nil
}

// element asks about an event at ts that was folded.
func (g *triggering[E, A]) element(ctx context.Context, tx *stateful.Tx, a *asked[A], ts int64) error {
	s, had, err := g.stateIn(ctx, a)
	if err != nil {
		return err
	}
	if own := (window.Span{Start: ts, End: ts + 1}); !had || s.empty {
		s.times = own
	} else {
		s.times = s.times.Cover(own)
	}
	s.changed, s.empty = true, false
	s.have++
	if err := g.ask(ctx, tx, a, &s, onElement, ts); err != nil || g.count == 0 || s.have < g.count {
		return err
	}
	a.ended, a.closing = true, true
	if err := g.ask(ctx, tx, a, &s, onEventTime, ts); err != nil {
		return err
	}
	return g.next(tx, a, s)
}

// passed asks when the watermark has reached at.
func (g *triggering[E, A]) passed(ctx context.Context, tx *stateful.Tx, a *asked[A], at int64) error {
	s, _, err := g.stateIn(ctx, a)
	if err != nil {
		return err
	}
	return g.ask(ctx, tx, a, &s, onEventTime, at)
}

// rang asks when a timer has come due, but for one that failed for good: that is set no longer.
func (g *triggering[E, A]) rang(ctx context.Context, tx *stateful.Tx, a *asked[A], t stateful.Timer, failed bool) error {
	s, _, err := g.stateIn(ctx, a)
	if err != nil {
		return err
	}
	q, set := onEventTime, &s.eventAt
	if t.Kind == stateful.ProcessingTime {
		q, set = onProcessingTime, &s.clockAt
	}
	if *set != t.Time {
		return nil // it was set for a window that was forgotten
	}
	if *set = unset; failed {
		g.states.Put(a.state, s)
		return nil
	}
	return g.ask(ctx, tx, a, &s, q, t.Time)
}

// next makes a full window of window.Count the one after it.
func (g *triggering[E, A]) next(tx *stateful.Tx, a *asked[A], s windowState) error {
	next := windowState{empty: true, eventAt: unset, clockAt: unset, before: s.before + s.have}
	if s.stands {
		g.emitted.Remove(nameOf(a))
	}
	g.values.Put(a.value, g.core.start())
	g.states.Put(a.state, next)
	return setTimers(tx, a, s, next)
}

// forget forgets what is kept of a window beside its value.
func (g *triggering[E, A]) forget(ctx context.Context, tx *stateful.Tx, a *asked[A]) error {
	s, _, err := g.stateIn(ctx, a)
	if err != nil {
		return err
	}
	if g.left != nil {
		g.left.panes.Remove(nameOf(a))
	}
	if s.stands {
		g.emitted.Remove(nameOf(a))
	}
	g.states.Delete(a.state)
	return setTimers(tx, a, s, windowState{eventAt: unset, clockAt: unset})
}

// drop lets go of what a record that failed left in memory for the window named id.
func (g *triggering[E, A]) drop(id string) {
	if c := g.states.FindString(id); c != nil {
		g.states.Delete(c)
	}
}

// nameOf returns the window's key in the tables.
func nameOf[A any](a *asked[A]) []byte {
	return append(stateful.AppendOrdered(make([]byte, 0, endBytes+len(a.key)), a.End), a.key...)
}

// stateIn returns what is kept of a window, and whether anything was.
func (g *triggering[E, A]) stateIn(ctx context.Context, a *asked[A]) (s windowState, had bool, err error) {
	if s, had = a.state.Value(); had {
		return s, true, nil
	}
	if g.left == nil || a.fresh {
		return windowState{eventAt: unset, clockAt: unset}, false, nil
	}
	s, err = g.left.stateOf(ctx, a.Last(), nameOf(a))
	return s, false, err
}

// question is which method of a trigger is asked.
type question uint8

const (
	onElement question = iota
	onEventTime
	onProcessingTime
)

func (q question) ask(t Trigger, m Moment, s TriggerState) (Decision, TriggerState) {
	switch q {
	case onElement:
		return t.OnElement(m, s)
	case onEventTime:
		return t.OnEventTime(m, s)
	}
	return t.OnProcessingTime(m, s)
}

// ask asks the trigger, does what it decides, and stores what it keeps.
func (g *triggering[E, A]) ask(ctx context.Context, tx *stateful.Tx, a *asked[A], s *windowState, q question, at int64) error {
	was := *s
	m := Moment{Time: instant(at), Watermark: instant(tx.Watermark()), Now: tx.Now(), Ended: a.ended, Closing: a.closing, Changed: s.changed}
	if !g.everlasting {
		m.Window = boundsOf(a.Span)
	}
	kept := TriggerState{N: s.n, EventAt: instant(s.eventAt), ClockAt: instant(s.clockAt)}
	d, kept := q.ask(g.trigger, m, kept)
	s.n, s.eventAt, s.clockAt = kept.N, millis(kept.EventAt), millis(kept.ClockAt)
	if d == Fire && g.mode == Discarding {
		d = FireAndPurge
	}
	if (d == Fire || d == FireAndPurge) && !s.empty {
		if err := g.fire(ctx, tx, a, s, d == Fire); err != nil {
			return err
		}
	}
	if (d == Purge || d == FireAndPurge) && !s.empty {
		if s.stands {
			g.emitted.Remove(nameOf(a))
		}
		s.changed, s.empty, s.stands = false, true, false
		g.values.Put(a.value, g.core.start())
	}
	g.states.Put(a.state, *s)
	return setTimers(tx, a, was, *s)
}

// fire emits a result, when retracting behind the one it takes the place of. keep: the value is
// kept, and with it what is to be taken back next.
func (g *triggering[E, A]) fire(ctx context.Context, tx *stateful.Tx, a *asked[A], s *windowState, keep bool) error {
	v, _ := a.value.Value()
	r := &g.core.result
	*r = output[A]{Span: a.Span, id: a.Span, key: a.key}
	if g.count > 0 {
		r.id = window.Span{Start: s.before, End: s.before + g.count}
	}
	if g.emitted != nil {
		last, err := g.lastOf(ctx, a, s)
		if err != nil {
			return err
		}
		if was, has := last.Value(); has {
			if g.everlasting {
				r.Span = s.given
			}
			r.value, r.pane, r.retract = was, s.panes-1, true
			if err := g.core.give(tx); err != nil {
				return err
			}
			r.retract = false
		}
		if keep {
			g.emitted.Put(last, v)
			s.stands = true
		}
	}
	if g.everlasting {
		r.Span = s.times
		s.given = s.times
	}
	r.value, r.pane = v, s.panes
	s.panes++
	s.changed = false
	return g.core.give(tx)
}

// lastOf returns the cell of the window's last result.
func (g *triggering[E, A]) lastOf(ctx context.Context, a *asked[A], s *windowState) (*stateful.Cell[A], error) {
	name := a.value.Key() // both are the window's
	if c := g.emitted.FindString(name); c != nil {
		return c, nil
	}
	if s.stands {
		return g.emitted.Load(ctx, []byte(name))
	}
	return g.emitted.Fresh([]byte(name)), nil
}

// setTimers makes the timers those of now.
func setTimers[A any](tx *stateful.Tx, a *asked[A], was, now windowState) error {
	return moveTimers(tx, a.key, a.End, wakes{was.eventAt, was.clockAt}, wakes{now.eventAt, now.clockAt})
}

// wakes are the times, in ms, at which a trigger is to be asked; unset when it is not.
type wakes struct{ eventAt, clockAt int64 }

// moveTimers makes the timers of one window, which is told apart from the key's others by a time, those of now.
func moveTimers(tx *stateful.Tx, key string, of int64, was, now wakes) error {
	if was == now {
		return nil
	}
	space := string(stateful.AppendOrdered(nil, of))
	set := func(kind stateful.TimerKind, was, now int64) error {
		if was == now {
			return nil
		}
		if was != unset {
			tx.DeleteTimer(stateful.Timer{Kind: kind, Time: was, Namespace: space, Key: key})
		}
		if now != unset {
			return tx.SetTimer(stateful.Timer{Kind: kind, Time: now, Namespace: space, Key: key})
		}
		return nil
	}
	if err := set(stateful.EventTime, was.eventAt, now.eventAt); err != nil {
		return err
	}
	return set(stateful.ProcessingTime, was.clockAt, now.clockAt)
}

// instant returns the zero time for what is no time that events have.
func instant(ms int64) time.Time {
	if ms <= minTime || ms >= maxTime {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// millis rounds up, so that nothing comes due too early.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return unset
	}
	return t.Add(time.Millisecond - 1).UnixMilli()
}
