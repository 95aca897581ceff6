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
		k, of, err := w.find(ctx, f)
		if err != nil {
			return err
		}
		if k != nil {
			if err := w.fire(tx, k, of, 0, noSlice); err != nil {
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
	k, of, err := w.find(ctx, f)
	if err != nil || k == nil {
		return err
	}
	w.letGo(k, of.goes)
	if !k.numbered {
		return nil
	}
	from, to := appendSliceName(nil, k.key, math.MinInt64), appendSliceName(nil, k.key, of.end+1)
	for c, err := range w.panes.Range(ctx, from, to) {
		if err != nil {
			return err
		}
		w.panes.Delete(c)
	}
	return nil
}

// find returns the key of a firing, nil when nothing is there of it, and its window. The instance that
// named the firing may be gone, so that this one has to look it up.
func (w *slicedTask[E, A]) find(ctx context.Context, f stateful.Firing) (*slicedKey[A], slicedWindow, error) {
	if w.given != nil {
		return w.given.head, w.given.slicedWindow, nil
	}
	end := f.Time + 1
	if f.Kind == cleanKind || w.finalOnly {
		end -= w.lateness
	}
	k, err := w.load(ctx, f.Key)
	return k, w.cut.windowTo(end), err
}

// fire emits the value of a window, if it has any.
func (w *slicedTask[E, A]) fire(tx *stateful.Tx, k *slicedKey[A], of slicedWindow, pane uint32, unsettled int64) error {
	m := merger[A]{k, w.merge, unsettled}
	v, has, err := m.over(of.from, of.to)
	if err != nil || !has {
		return err
	}
	return w.emit(tx, window.Span{Start: of.end - w.cut.Size(), End: of.end}, k.key, v, pane)
}

// fireAgain emits those windows of a slice that had their end before the event in hand came. had says whether the
// slice had a value before.
func (w *slicedTask[E, A]) fireAgain(ctx context.Context, tx *stateful.Tx, s *openSlice[A], k *slicedKey[A], wm int64, had bool) error {
	if _, err := w.load(ctx, k.key); err != nil {
		return err
	}
	k.change(s.number)
	end := s.oldest
	if gone := max(upTo(wm, w.lateness), w.about.closed+1); end <= gone {
		end = w.cut.after(gone)
	}
	for ; end <= s.newest && w.fires(end) <= wm; end += w.cut.Slide() {
		of, pane := w.cut.windowTo(end), uint32(0)
		if had || k.holds(of.from, of.to, s.number) { // then it fired
			var err error
			if pane, err = w.nextPane(ctx, k, end); err != nil {
				return err
			}
		}
		if err := w.fire(tx, k, of, pane, s.number); err != nil {
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
