package handlers

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// kept is what has to be kept of a session for its trigger and mode; by the usual ones nothing has. It is
// not changed in place: it comes back when the record fails.
type kept[A any] struct {
	changed bool   // there are events that no result has
	empty   bool   // the value was forgotten, and no event has come since
	stands  bool   // last is the value of the last result, which is to be taken back
	n       uint64 // of the trigger, like wakes
	wakes
	last A
}

// asleep are those of a window whose trigger waits for nothing.
var asleep = wakes{unset, unset}

// keeps returns what is kept of the session.
func (s *session[A]) keeps() kept[A] {
	if s.kept == nil { // it is new, or of the usual trigger, by which it fired if it has ended
		return kept[A]{changed: !s.ended, wakes: asleep}
	}
	return *s.kept
}

func (s *session[A]) wakes() wakes {
	if s.kept == nil {
		return asleep
	}
	return s.kept.wakes
}

// element takes note of an event at ts that was folded into s, and gives the results that follow from it.
func (w *sessionTask[E, A]) element(tx *stateful.Tx, key string, span window.Span, s *session[A], ts int64) error {
	if s.ended = span.Last() <= tx.Watermark(); w.trigger == nil {
		if s.ended {
			return w.emit(tx, span, key, s)
		}
		return nil
	}
	k := s.keeps()
	k.changed, k.empty = true, false
	return w.ask(tx, key, span, s, &k, onElement, ts, false)
}

// finish gives the result of a session that has ended, or is about to be forgotten, at a time.
func (w *sessionTask[E, A]) finish(tx *stateful.Tx, key string, span window.Span, s *session[A], at int64, closing bool) error {
	k := s.keeps()
	if s.ended = true; w.trigger == nil {
		return w.emit(tx, span, key, s)
	}
	return w.ask(tx, key, span, s, &k, onEventTime, at, closing)
}

// emit emits the value of a session as it is.
func (w *sessionTask[E, A]) emit(tx *stateful.Tx, span window.Span, key string, s *session[A]) error {
	s.pane++
	return w.core.emit(tx, span, key, s.value, s.pane-1)
}

// ask asks the trigger about a session and does what it decides. It sets no timers.
func (w *sessionTask[E, A]) ask(tx *stateful.Tx, key string, span window.Span, s *session[A], k *kept[A], q question, at int64, closing bool) error {
	d, next := q.ask(w.trigger, Moment{
		Window: boundsOf(span), Time: instant(at), Watermark: instant(tx.Watermark()), Now: tx.Now(),
		Ended: span.Last() <= tx.Watermark(), Closing: closing, Changed: k.changed,
	}, TriggerState{N: k.n, EventAt: instant(k.eventAt), ClockAt: instant(k.clockAt)})
	k.n, k.wakes = next.N, wakes{millis(next.EventAt), millis(next.ClockAt)}
	if d == Fire && w.mode == Discarding {
		d = FireAndPurge
	}
	if (d == Fire || d == FireAndPurge) && !k.empty {
		if err := w.takeBack(tx, key, span, s.pane, k); err != nil {
			return err
		}
		if err := w.emit(tx, span, key, s); err != nil {
			return err
		}
		if k.changed = false; w.mode == Retracting {
			k.stands, k.last = true, s.value
		}
	}
	if d == Purge || d == FireAndPurge {
		*k = kept[A]{empty: true, n: k.n, wakes: k.wakes}
		s.value = w.start()
	}
	s.kept = k
	return nil
}

// takeBack takes the last result of a session back, if one stands. panes is how many it gave.
func (w *sessionTask[E, A]) takeBack(tx *stateful.Tx, key string, span window.Span, panes uint32, k *kept[A]) error {
	if !k.stands {
		return nil
	}
	var none A
	w.result = output[A]{Span: span, id: span, key: key, value: k.last, pane: panes - 1, retract: true}
	k.stands, k.last = false, none
	return w.give(tx)
}

// unite makes s the session of it and of o, which is the later one.
func (w *sessionTask[E, A]) unite(s, o *session[A]) (err error) {
	if w.trigger == nil {
		s.value, err = w.merge(s.value, o.value)
		return err
	}
	a, b := s.keeps(), o.keeps()
	switch {
	case b.empty:
	case a.empty:
		s.value = o.value
	default:
		s.value, err = w.merge(s.value, o.value)
	}
	s.kept = &kept[A]{
		changed: a.changed || b.changed, empty: a.empty && b.empty, n: a.n + b.n,
		wakes: wakes{sooner(a.eventAt, b.eventAt), sooner(a.clockAt, b.clockAt)},
	}
	return err
}

// sooner returns the earlier of two times that may be unset.
func sooner(a, b int64) int64 {
	if a == unset || b == unset {
		return max(a, b)
	}
	return min(a, b)
}

// OnTimer implements [stateful.TimerHandler]: a trigger asked for it. The timers of a session are told apart
// from those of the key's others by its start.
func (w *sessionTask[E, A]) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return w.timer(ctx, tx, t, false)
}

// SkipTimer implements [stateful.TimerSkipper]: the trigger may ask for another.
func (w *sessionTask[E, A]) SkipTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return w.timer(ctx, tx, t, true)
}

func (w *sessionTask[E, A]) timer(ctx context.Context, tx *stateful.Tx, t stateful.Timer, failed bool) error {
	if w.trigger == nil || len(t.Namespace) != endBytes {
		return stateful.TaskFault(fmt.Errorf("there is a timer of %q, and no trigger that set it: the stored state is damaged", t.Key))
	}
	if w.about.changed {
		w.about.store()
	}
	c, err := w.find(ctx, t.Key)
	if err != nil {
		return err
	}
	k, has := c.Value()
	if !has {
		w.keys.Delete(c) // lets go of it
		return nil
	}
	start := stateful.ParseOrdered(t.Namespace)
	for i := range k.len() {
		if span, _ := k.at(i); span.Start == start {
			return w.rang(ctx, tx, c, &k, i, t, failed)
		}
	}
	return nil // what it was set for is gone
}

// rang asks about the i-th session of a key, whose timer has come due; but for one that failed for good: that is set no longer.
func (w *sessionTask[E, A]) rang(ctx context.Context, tx *stateful.Tx, c *stateful.Cell[keySessions[A]], k *keySessions[A], i int, t stateful.Timer, failed bool) error {
	s, err := w.session(ctx, c.Key(), k, i)
	if err != nil {
		return err
	}
	kept := s.keeps()
	q, set := onEventTime, &kept.eventAt
	if t.Kind == stateful.ProcessingTime {
		q, set = onProcessingTime, &kept.clockAt
	}
	if *set != t.Time {
		return nil // it was set for a session that is gone
	}
	*set = unset
	was := kept.wakes
	span, _ := k.at(i)
	if failed {
		s.kept = &kept
	} else if err := w.ask(tx, c.Key(), span, &s, &kept, q, t.Time, false); err != nil {
		return err
	}
	if err := moveTimers(tx, c.Key(), span.Start, was, kept.wakes); err != nil {
		return err
	}
	if err := w.place(ctx, c.Key(), k, true, span, s, i, i+1); err != nil {
		return err
	}
	w.keys.Put(c, *k)
	return nil
}
