package handlers

import (
	"context"
	"math"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Fire implements [stateful.Firer].
func (w *slicedTask[E, A]) Fire(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	if f.Kind == fireKind {
		k, end, err := w.find(ctx, f)
		if err != nil {
			return err
		}
		if k != nil {
			if err := w.fire(tx, k, end, 0, noSlice); err != nil {
				return err
			}
		}
	}
	return w.Skip(ctx, tx, f)
}

// Skip implements [stateful.Firer]: a window that could not be emitted, or be
// forgotten, is forgotten when its time has come.
func (w *slicedTask[E, A]) Skip(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	if !w.takes(f.Kind) {
		return nil
	}
	k, end, err := w.find(ctx, f)
	if err != nil || k == nil {
		return err
	}
	w.letGo(k, w.goes(end))
	if !k.numbered {
		return nil
	}
	from, to := appendSliceName(nil, k.key, math.MinInt64), appendSliceName(nil, k.key, end+1)
	for c, err := range w.panes.Range(ctx, from, to) {
		if err != nil {
			return err
		}
		w.panes.Delete(c)
	}
	return nil
}

// find returns the key of a firing, nil when nothing is there of it, and the end of its window. The instance that
// named the firing may be gone, so that this one has to look it up.
func (w *slicedTask[E, A]) find(ctx context.Context, f stateful.Firing) (*slicedKey[A], int64, error) {
	if w.given != nil {
		return w.given.head, w.given.end, nil
	}
	end := f.Time + 1
	if f.Kind == cleanKind || w.finalOnly {
		end -= w.lateness
	}
	k, err := w.load(ctx, f.Key)
	return k, end, err
}

// fire emits the value of a window, if it has any.
func (w *slicedTask[E, A]) fire(tx *stateful.Tx, k *slicedKey[A], end int64, pane uint32, unsettled int64) error {
	from, to := w.cut.within(end)
	m := merger[A]{k, w.merge, unsettled}
	v, has, err := m.over(from, to)
	if err != nil || !has {
		return err
	}
	return w.emit(tx, window.Span{Start: end - w.cut.Size(), End: end}, k.key, v, pane)
}

// fireAgain emits those windows of a slice that had their end before the event in hand came. had says whether the
// slice had a value before.
func (w *slicedTask[E, A]) fireAgain(ctx context.Context, tx *stateful.Tx, s *openSlice[A], key string, wm int64, had bool) error {
	k, err := w.load(ctx, key)
	if err != nil {
		return err
	}
	k.change(s.number)
	end := s.oldest
	if gone := upTo(wm, w.lateness); end <= gone {
		end = w.cut.after(gone)
	}
	for ; end <= s.newest && w.fires(end) <= wm; end += w.cut.Slide() {
		pane := uint32(0)
		if from, to := w.cut.within(end); had || k.holds(from, to, s.number) { // then it fired
			if pane, err = w.nextPane(ctx, k, end); err != nil {
				return err
			}
		}
		if err := w.fire(tx, k, end, pane, s.number); err != nil {
			return err
		}
	}
	return nil
}

// nextPane returns the number of the next result of a window that fired, once unless a number says more.
func (w *slicedTask[E, A]) nextPane(ctx context.Context, k *slicedKey[A], end int64) (uint32, error) {
	c, err := w.panes.Load(ctx, appendSliceName(w.id[:0], k.key, end))
	if err != nil {
		return 0, err
	}
	k.numbered = true
	pane, ok := c.Value()
	if !ok {
		pane = 1
	}
	w.panes.Put(c, pane+1)
	return pane, nil
}
