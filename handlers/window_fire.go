package handlers

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// The kinds of firing.
const (
	fireKind  uint8 = iota + 1 // a window has ended
	cleanKind                  // its allowed lateness has passed
)

// coldChunk is how many stored cells are read at once.
const coldChunk = 256

// drain goes over the cells of one pane in order of their keys.
type drain[A any] struct {
	p     *pane[A] // nil: nothing to do
	kind  uint8
	time  int64
	cells []*stateful.Cell[A] // those that were in memory, sorted
	cold  []*stateful.Cell[A] // the chunk in hand of those that were not
	from  []byte              // where the next chunk begins
	more  bool                // there may be a next chunk
	whole bool                // it began at the pane's first key
	head  *stateful.Cell[A]   // the next one; its memory is not looked at once it was given out
	key   string              // of head
}

// Due implements [stateful.Firer].
func (w *windowTask[E, A]) Due() int64 { return w.next }

// reckon computes when something is due next. Windows end, and are forgotten, in one order.
func (w *windowTask[E, A]) reckon() {
	w.next = math.MaxInt64
	if w.fired < len(w.open) {
		w.next = w.open[w.fired].Last()
	}
	if w.fired > 0 {
		w.next = min(w.next, w.open[0].gone)
	}
	if w.stats != nil {
		w.stats.open.Store(int64(len(w.open)))
	}
}

// passed takes note that what was due at wm has fired.
func (w *windowTask[E, A]) passed(wm int64) {
	for w.firing.p == nil && w.fired < len(w.open) && w.open[w.fired].Last() <= wm {
		w.fired++
	}
}

// NextFiring implements [stateful.Firer]. What is yet to be forgotten is known by
// its being there; what fired and is still there is known by from and after.
func (w *windowTask[E, A]) NextFiring(ctx context.Context, _ *stateful.Tx, from, wm int64, after stateful.Firing) (stateful.Firing, bool, error) {
	if d := w.given; d != nil && d.time == after.Time && d.kind == after.Kind && d.key == after.Key {
		d.head = nil
	}
	w.given = nil
	w.passed(from)
	for {
		w.begin(wm, after)
		ended, err := w.fill(ctx, &w.firing)
		if err == nil && !ended {
			ended, err = w.fill(ctx, &w.cleaning)
		}
		if err != nil {
			return stateful.Firing{}, false, err
		}
		if !ended {
			break
		}
	}
	d := &w.firing
	if c := &w.cleaning; d.p == nil || c.p != nil && c.before(d) {
		d = c
	}
	if d.p == nil {
		w.reckon()
		if w.stats != nil {
			w.stats.watermark.Store(wm)
		}
		return stateful.Firing{}, false, nil
	}
	w.given = d
	return stateful.Firing{Time: d.time, Kind: d.kind, Key: d.key}, true, nil
}

// before orders heads by (time, key, kind).
func (d *drain[A]) before(o *drain[A]) bool {
	if d.time != o.time {
		return d.time < o.time
	}
	if d.key != o.key {
		return d.key < o.key
	}
	return d.kind < o.kind
}

// begin starts the drains that are due.
func (w *windowTask[E, A]) begin(wm int64, after stateful.Firing) {
	for w.firing.p == nil && w.fired < len(w.open) && w.open[w.fired].Last() <= wm {
		p := w.open[w.fired]
		if p.Last() < after.Time { // before the restart
			w.fired++
			continue
		}
		past := ""
		if p.Last() == after.Time {
			past = after.Key + "\x00"
		}
		w.firing.start(p, fireKind, p.Last(), past)
	}
	if w.cleaning.p == nil && w.fired > 0 && w.open[0].gone <= wm {
		w.cleaning.start(w.open[0], cleanKind, w.open[0].gone, "")
	}
}

// start begins with the first key at or after from.
func (d *drain[A]) start(p *pane[A], kind uint8, time int64, from string) {
	p.sort()
	*d = drain[A]{p: p, kind: kind, time: time, more: p.cold, whole: from == "", cells: p.cells, cold: d.cold[:0]}
	if from != "" {
		at, _ := slices.BinarySearchFunc(d.cells, from, func(c *stateful.Cell[A], key string) int {
			return strings.Compare(c.Key()[endBytes:], key)
		})
		d.cells = d.cells[at:]
	}
	d.from = append(append(d.from, p.prefix...), from...)
}

// takes reports whether a firing of the drain takes the cell away.
func (w *windowTask[E, A]) takes(kind uint8) bool { return kind == cleanKind || w.lateness == 0 }

// fill finds the head of d. It ends the drain, and says so, when there is none.
func (w *windowTask[E, A]) fill(ctx context.Context, d *drain[A]) (ended bool, err error) {
	for d.p != nil && d.head == nil {
		if len(d.cold) == 0 && d.more {
			if err := w.readChunk(ctx, d); err != nil {
				return false, err
			}
		}
		from := &d.cells
		if len(d.cells) == 0 || len(d.cold) > 0 && d.cold[0].Key() < d.cells[0].Key() {
			from = &d.cold
		}
		if len(*from) == 0 {
			w.end(d)
			return true, nil
		}
		c := (*from)[0]
		*from = (*from)[1:]
		if _, has := c.Value(); has {
			d.head, d.key = c, c.Key()[endBytes:]
		} else if w.takes(d.kind) {
			w.cells.Delete(c) // of a record that failed
		}
	}
	return false, nil
}

func (w *windowTask[E, A]) readChunk(ctx context.Context, d *drain[A]) error {
	d.more, d.cold = false, make([]*stateful.Cell[A], 0, coldChunk)
	for c, err := range w.cells.Cold(ctx, d.from, stateful.AppendOrdered(nil, d.p.End+1)) {
		if err != nil {
			return err
		}
		d.cold = append(d.cold, c)
		if !w.takes(d.kind) {
			d.p.add(c)
		}
		if len(d.cold) == coldChunk {
			d.more = true
			d.from = append(append(d.from[:0], c.Key()...), 0)
			break
		}
	}
	return nil
}

// end closes a drain that has gone over its whole pane.
func (w *windowTask[E, A]) end(d *drain[A]) {
	p := d.p
	d.p, d.cells = nil, nil
	if !w.takes(d.kind) {
		w.fired++
		p.cold = p.cold && !d.whole
		return
	}
	at := 0
	if d.kind == fireKind {
		at = w.fired
	} else {
		w.fired--
	}
	w.open = slices.Delete(w.open, at, at+1)
	if w.last == p {
		w.last = nowhere[A]()
	}
}

// Fire implements [stateful.Firer].
func (w *windowTask[E, A]) Fire(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	c, s, err := w.find(ctx, f)
	if err != nil {
		return err
	}
	if v, has := c.Value(); has && f.Kind == fireKind {
		if err := w.emit(tx, s, f.Key, v, 0); err != nil {
			return err
		}
	}
	return w.Skip(ctx, tx, f)
}

// Skip implements [stateful.Firer]: a window that could not be emitted, or be
// forgotten, is forgotten when its time has come.
func (w *windowTask[E, A]) Skip(ctx context.Context, _ *stateful.Tx, f stateful.Firing) error {
	if !w.takes(f.Kind) {
		return nil
	}
	c, s, err := w.find(ctx, f)
	if err != nil {
		return err
	}
	w.cells.Delete(c)
	if w.given != nil && !w.given.p.numbered {
		return nil
	}
	n, err := w.panes.Load(ctx, append(stateful.AppendOrdered(nil, s.End), f.Key...))
	if err != nil {
		return err
	}
	w.panes.Delete(n)
	return nil
}

// find returns the cell of a firing and its window. The instance that named the firing may
// be gone, so that this one has to look it up.
func (w *windowTask[E, A]) find(ctx context.Context, f stateful.Firing) (*stateful.Cell[A], window.Span, error) {
	if w.given != nil {
		return w.given.head, w.given.p.Span, nil
	}
	last := f.Time
	if f.Kind == cleanKind {
		last -= w.lateness
	}
	s := w.windows.Of(last)
	w.id = append(stateful.AppendOrdered(w.id[:0], s.End), f.Key...)
	if c := w.cells.Find(w.id); c != nil {
		return c, s, nil
	}
	c, err := w.cells.Load(ctx, w.id)
	if err != nil || w.takes(f.Kind) {
		return c, s, err
	}
	for _, p := range w.open {
		if p.End == s.End {
			p.add(c)
		}
	}
	return c, s, nil
}
