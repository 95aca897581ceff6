package handlers

import (
	"context"

	"github.com/pondage/pondage/stateful"
)

// The kinds of firing that only sessions have. They emit nothing.
const (
	lookKind  uint8 = iota + cleanKind + 1 // the time has come that a key is looked at, and it is not due
	sweepKind                              // a part of the due index is done with
)

// sweepChunk is how many chunks of the due index go in one firing.
const sweepChunk = 256

// NextFiring implements [stateful.Firer]. What has ended, or is forgotten, is known by the
// sessions themselves, so it does not matter where an advance was interrupted.
func (w *sessionTask[E, A]) NextFiring(ctx context.Context, _ *stateful.Tx, _, wm int64, _ stateful.Firing) (stateful.Firing, bool, error) {
	for {
		e, ok, err := w.due.head(ctx, wm)
		if err != nil {
			return stateful.Firing{}, false, err
		}
		if p := w.due.passed(wm); p != nil {
			return stateful.Firing{Time: p.from + w.due.width - 1, Kind: sweepKind}, true, nil
		}
		if !ok {
			w.next = w.due.earliest()
			if w.stats != nil {
				w.stats.watermark.Store(wm)
			}
			return stateful.Firing{}, false, nil
		}
		c, err := w.find(ctx, e.key)
		if err != nil {
			return stateful.Firing{}, false, err
		}
		k, has := c.Value()
		if has && k.look == e.at {
			at, kind, _ := k.due(w.lateness)
			if at > e.at {
				at, kind = e.at, lookKind
			}
			return stateful.Firing{Time: at, Kind: kind, Key: c.Key()}, true, nil
		}
		if !has {
			w.keys.Delete(c) // lets go of it
		}
		w.due.front.pop()
	}
}

// find returns the cell of a key. The one it found last is asked for twice or more: it is known by
// its key, for its memory may be no cell (then its key is empty) or another by now.
func (w *sessionTask[E, A]) find(ctx context.Context, key string) (*stateful.Cell[keySessions[A]], error) {
	if w.found != nil && key != "" && w.found.Key() == key {
		return w.found, nil
	}
	c := w.keys.FindString(key)
	if c == nil {
		var err error
		w.id = append(w.id[:0], key...)
		if c, err = w.keys.Load(ctx, w.id); err != nil {
			return nil, err
		}
	}
	w.found = c
	return c, nil
}

// Fire implements [stateful.Firer].
func (w *sessionTask[E, A]) Fire(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	return w.settle(ctx, tx, f, true)
}

// Skip implements [stateful.Firer]: a session that could not be emitted counts as emitted.
func (w *sessionTask[E, A]) Skip(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	return w.settle(ctx, tx, f, false)
}

func (w *sessionTask[E, A]) settle(ctx context.Context, tx *stateful.Tx, f stateful.Firing, emit bool) error {
	if w.about.changed {
		w.about.store()
	}
	if f.Kind == sweepKind {
		if p := w.due.passed(tx.Watermark()); p != nil {
			w.due.drop(p, sweepChunk)
		}
		return nil
	}
	c, err := w.find(ctx, f.Key)
	if err != nil {
		return err
	}
	k, left := c.Value()
	if at, kind, i := k.due(w.lateness); left && at == f.Time && kind == f.Kind {
		if left, err = w.end(ctx, tx, c.Key(), &k, i, f, emit); err != nil {
			return err
		}
	}
	if !left {
		w.keys.Delete(c)
		return nil
	}
	if at, _, _ := k.due(w.lateness); at > k.look {
		if err := w.lookAt(ctx, c.Key(), &k, at); err != nil {
			return err
		}
	}
	w.keys.Put(c, k)
	return nil
}

// end closes the i-th session of a key at a time, or forgets it, and reports whether the key has any left.
func (w *sessionTask[E, A]) end(ctx context.Context, tx *stateful.Tx, key string, k *keySessions[A], i int, f stateful.Firing, emit bool) (left bool, err error) {
	closing := f.Kind == cleanKind || w.lateness == 0
	if f.Kind == cleanKind && w.trigger == nil {
		return w.forget(ctx, tx, key, k, i)
	}
	s, err := w.session(ctx, key, k, i)
	if err != nil {
		return false, err
	}
	span, _ := k.at(i)
	was := s.wakes()
	if emit {
		if err := w.finish(tx, key, span, &s, f.Time, closing); err != nil {
			return false, err
		}
	}
	if closing {
		return w.forget(ctx, tx, key, k, i)
	}
	s.ended = true
	if err := moveTimers(tx, key, span.Start, was, s.wakes()); err != nil {
		return false, err
	}
	return true, w.place(ctx, key, k, true, span, s, i, i+1)
}
