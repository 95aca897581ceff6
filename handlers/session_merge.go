package handlers

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// arrange takes an event that does not simply go on with the latest session of its key: it
// opens one, joins several, goes to an older one, comes to one that has ended, or is late.
func (w *sessionTask[E, A]) arrange(ctx context.Context, tx *stateful.Tx, rec *stateful.Record, c *stateful.Cell[keySessions[A]], ts, wm int64) error {
	k, had, err := w.present(ctx, tx, c, wm)
	if err != nil {
		return err
	}
	w.spans = w.spans[:0]
	if had {
		for i := range k.len() {
			s, _ := k.at(i)
			w.spans = append(w.spans, s)
		}
	}
	span, from, to := window.Join(w.spans, window.Span{Start: ts, End: ts + w.gap})
	switch {
	case w.gone(span, wm): // then it is alone, for no other is left
		if !had {
			w.keys.Delete(c) // lets go of it
		}
		return w.late(tx, rec, span, wm)
	case span.Start <= minTime || span.End >= maxTime:
		return checkSpan(span)
	case from == to && len(w.spans) >= w.limits.WindowsPerKey:
		return stateful.Permanent(fmt.Errorf("key %q has %d open windows, the limit (Limits.WindowsPerKey): are its event times right?", c.Key(), len(w.spans)))
	}
	s, was, err := w.join(ctx, tx, c.Key(), &k, span, from, to)
	if err != nil {
		return err
	}
	if s.value, err = w.fold(s.value, w.event); err != nil {
		return err
	}
	w.folded(wm)
	if err := w.element(tx, c.Key(), span, &s, ts); err != nil {
		return err
	}
	if err := moveTimers(tx, c.Key(), span.Start, was, s.wakes()); err != nil {
		return err
	}
	if err := w.place(ctx, c.Key(), &k, had, span, s, from, to); err != nil {
		return err
	}
	w.about.store()
	w.reached(span.End)
	w.opened(1 - (to - from))
	if err := w.schedule(ctx, c.Key(), &k, had); err != nil {
		return err
	}
	w.keys.Put(c, k)
	return nil
}

// present returns the sessions of a key, without those that would have been forgotten had
// AllowedLateness always been what it is. They give what they have still to give.
func (w *sessionTask[E, A]) present(ctx context.Context, tx *stateful.Tx, c *stateful.Cell[keySessions[A]], wm int64) (k keySessions[A], had bool, err error) {
	for {
		if k, had = c.Value(); !had {
			return k, false, nil
		}
		at, kind, i := k.due(w.lateness)
		if at > wm || kind != cleanKind {
			return k, true, nil
		}
		left, err := w.end(ctx, tx, c.Key(), &k, i, stateful.Firing{Time: at, Kind: kind}, true)
		if err != nil {
			return k, false, err
		}
		if w.keys.Put(c, k); !left {
			w.keys.Delete(c)
		}
	}
}

// join returns the session of span, into which those from:to of the key go, and the timers
// that are set for it. What it makes another window of is taken back.
func (w *sessionTask[E, A]) join(ctx context.Context, tx *stateful.Tx, key string, k *keySessions[A], span window.Span, from, to int) (s session[A], was wakes, err error) {
	was = asleep
	if from == to {
		s.value = w.start()
		return s, was, nil
	}
	for i := from; i < to; i++ {
		o, err := w.session(ctx, key, k, i)
		if err != nil {
			return s, was, err
		}
		if w.trigger != nil {
			if was, err = w.leave(tx, key, w.spans[i], span, &o, was); err != nil {
				return s, was, err
			}
		}
		if i == from {
			s = o
		} else if err := w.unite(&s, &o); err != nil {
			return s, was, err
		}
	}
	if span != w.spans[from] {
		s.pane, s.ended = 0, false // it is a new window
	}
	return s, was, nil
}

// leave makes a session that becomes part of the window joined ready for it: its last result is taken back
// and its timers are no more, unless the window is the same or, for the timers, begins with it.
func (w *sessionTask[E, A]) leave(tx *stateful.Tx, key string, span, joined window.Span, s *session[A], was wakes) (wakes, error) {
	if span == joined {
		return s.wakes(), nil
	}
	if k := s.keeps(); k.stands {
		if err := w.takeBack(tx, key, span, s.pane, &k); err != nil {
			return was, err
		}
		s.kept = &k
	}
	if span.Start == joined.Start {
		return s.wakes(), nil
	}
	return was, moveTimers(tx, key, span.Start, s.wakes(), asleep)
}

// session returns the i-th session of a key.
func (w *sessionTask[E, A]) session(ctx context.Context, key string, k *keySessions[A], i int) (session[A], error) {
	older := k.older()
	if i == len(older) {
		return k.session, nil
	}
	c, err := w.olderCell(ctx, key, older[i].id)
	if err != nil {
		return session[A]{}, err
	}
	s, has := c.Value()
	if !has {
		return s, stateful.TaskFault(fmt.Errorf("key %q has a session at %d without a value: the stored state is damaged", key, older[i].Start))
	}
	return s, nil
}

// place puts the session s in the place of those from:to.
func (w *sessionTask[E, A]) place(ctx context.Context, key string, k *keySessions[A], had bool, span window.Span, s session[A], from, to int) error {
	if !had {
		k.Span, k.session, k.before = span, s, nil
		return nil
	}
	older := k.older()
	n := len(older)
	if to > n { // it is the latest
		if from > n {
			id := k.freeID()
			if err := w.putOlder(ctx, key, id, k.session); err != nil {
				return err
			}
			k.replace(n, n, olderSession{k.Span, id, k.ended})
		} else if err := w.dropOlder(ctx, key, k, from, n); err != nil {
			return err
		}
		k.Span, k.session = span, s
		return nil
	}
	id := k.freeID()
	if from < to {
		id = older[from].id
		if err := w.deleteOlder(ctx, key, older[from+1:to]); err != nil {
			return err
		}
	}
	k.replace(from, to, olderSession{span, id, s.ended})
	return w.putOlder(ctx, key, id, s)
}

func (w *sessionTask[E, A]) putOlder(ctx context.Context, key string, id uint32, s session[A]) error {
	c, err := w.olderCell(ctx, key, id)
	if err == nil {
		w.older.Put(c, s)
	}
	return err
}

// dropOlder takes older[from:to] away.
func (w *sessionTask[E, A]) dropOlder(ctx context.Context, key string, k *keySessions[A], from, to int) error {
	if from == to {
		return nil
	}
	if err := w.deleteOlder(ctx, key, k.older()[from:to]); err != nil {
		return err
	}
	k.replace(from, to)
	return nil
}

func (w *sessionTask[E, A]) deleteOlder(ctx context.Context, key string, gone []olderSession) error {
	for i := range gone {
		c, err := w.olderCell(ctx, key, gone[i].id)
		if err != nil {
			return err
		}
		w.older.Delete(c)
	}
	return nil
}

// forget takes the i-th session of a key away and reports whether others are left. k is not put.
func (w *sessionTask[E, A]) forget(ctx context.Context, tx *stateful.Tx, key string, k *keySessions[A], i int) (left bool, err error) {
	w.opened(-1)
	if w.trigger != nil {
		s, err := w.session(ctx, key, k, i)
		if err != nil {
			return false, err
		}
		span, _ := k.at(i)
		if err := moveTimers(tx, key, span.Start, s.wakes(), asleep); err != nil {
			return false, err
		}
	}
	if n := k.len() - 1; i < n {
		return true, w.dropOlder(ctx, key, k, i, i+1)
	} else if n > 0 { // it ends last, so the others go first
		return true, stateful.TaskFault(fmt.Errorf("key %q has a session that outlives a later one: the stored state is damaged", key))
	}
	return false, nil
}
