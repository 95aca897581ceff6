package handlers

import (
	"context"
	"fmt"
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
		w.next = w.open[w.fired].fires
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
	if w.finalOnly {
		return // what fired is gone
	}
	for w.firing.p == nil && w.fired < len(w.open) && w.open[w.fired].fires <= wm {
		w.fired++
	}
}

// NextFiring implements [stateful.Firer]. What is yet to be forgotten is known by
// its being there; what fired and is still there is known by from and after.
func (w *windowTask[E, A]) NextFiring(ctx context.Context, _ *stateful.Tx, from, wm int64, after stateful.Firing) (stateful.Firing, bool, error) {
	if d := w.given; d != nil && d.firing() == after {
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
	if c := &w.cleaning; d.p == nil || c.p != nil && earlier(c.firing(), d.firing()) {
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
	return d.firing(), true, nil
}

func (d *drain[A]) firing() stateful.Firing {
	return stateful.Firing{Time: d.time, Kind: d.kind, Key: d.key}
}

// earlier orders firings by (time, key, kind).
func earlier(a, b stateful.Firing) bool {
	if a.Time != b.Time {
		return a.Time < b.Time
	}
	if a.Key != b.Key {
		return a.Key < b.Key
	}
	return a.Kind < b.Kind
}

// begin starts the drains that are due.
func (w *windowTask[E, A]) begin(wm int64, after stateful.Firing) {
	for w.firing.p == nil && w.fired < len(w.open) && w.open[w.fired].fires <= wm {
		p := w.open[w.fired]
		if p.fires < after.Time && !w.finalOnly { // before the restart
			w.fired++
			continue
		}
		past := ""
		if p.fires == after.Time {
			past = after.Key + "\x00"
		}
		w.firing.start(p, fireKind, p.fires, past)
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
func (w *windowTask[E, A]) takes(kind uint8) bool {
	return kind == cleanKind || w.lateness == 0 || w.finalOnly
}

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
		} else if w.takes(d.kind) { // of a record that failed
			w.cells.Delete(c)
			if w.trigger != nil {
				w.trigger.drop(c.Key())
			}
		}
	}
	return false, nil
}

func (w *windowTask[E, A]) readChunk(ctx context.Context, d *drain[A]) error {
	d.more, d.cold = false, make([]*stateful.Cell[A], 0, coldChunk)
	to := d.p.behind()
	for c, err := range w.cells.Cold(ctx, d.from, to) {
		if err != nil {
			return err
		}
		d.cold = append(d.cold, c)
		if !w.takes(d.kind) {
			d.p.add(c)
		}
		if len(d.cold) == coldChunk {
			d.more = true
			break
		}
	}
	if d.more {
		to = append([]byte(d.cold[coldChunk-1].Key()), 0)
	}
	if w.trigger != nil {
		if err := w.trigger.warm(ctx, d.from, to); err != nil {
			return err
		}
	}
	d.from = to
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
	if at == 0 { // always, but when the allowed lateness was another in an earlier run
		w.open[0] = nil
		w.open = w.open[1:]
	} else {
		w.open = slices.Delete(w.open, at, at+1)
	}
	if slices.Contains(w.hit, p) {
		w.slice = nowhere
	}
}

// Fire implements [stateful.Firer].
func (w *windowTask[E, A]) Fire(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	if w.about.changed {
		w.about.store()
	}
	c, s, err := w.find(ctx, f)
	if err != nil {
		return err
	}
	v, has := c.Value()
	switch {
	case !has:
	case w.trigger != nil:
		state, err := w.trigger.stateOf(ctx, []byte(c.Key()), true)
		if err != nil {
			return err
		}
		a := asked[A]{Span: s, key: f.Key, value: c, state: state, ended: true, closing: w.takes(f.Kind)}
		if err := w.trigger.passed(ctx, tx, &a, f.Time); err != nil {
			return err
		}
	case f.Kind == fireKind:
		if err := w.emit(tx, s, f.Key, v, 0); err != nil {
			return err
		}
	}
	return w.Skip(ctx, tx, f)
}

// Skip implements [stateful.Firer]: a window that could not be emitted, or be
// forgotten, is forgotten when its time has come.
func (w *windowTask[E, A]) Skip(ctx context.Context, tx *stateful.Tx, f stateful.Firing) error {
	if !w.takes(f.Kind) {
		return nil
	}
	c, s, err := w.find(ctx, f)
	if err != nil {
		return err
	}
	w.cells.Delete(c)
	if w.trigger != nil {
		state, err := w.trigger.stateOf(ctx, []byte(c.Key()), true)
		if err != nil {
			return err
		}
		return w.trigger.forget(ctx, tx, &asked[A]{Span: s, key: f.Key, value: c, state: state})
	}
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
	end := f.Time + 1
	if f.Kind == cleanKind || w.finalOnly {
		end -= w.lateness
	}
	s, _ := w.cut.ending(end)
	c, err := w.load(ctx, s.End, f.Key, w.takes(f.Kind))
	return c, s, err
}

// load returns the cell of a window and key, which may be in memory. One that is to be deleted is not
// made part of its pane.
func (w *windowTask[E, A]) load(ctx context.Context, end int64, key string, taken bool) (*stateful.Cell[A], error) {
	w.id = append(stateful.AppendOrdered(w.id[:0], end), key...)
	if c := w.cells.Find(w.id); c != nil {
		return c, nil
	}
	c, err := w.cells.Load(ctx, w.id)
	if err != nil || taken {
		return c, err
	}
	if at, found := w.at(end); found {
		w.open[at].add(c)
	}
	return c, nil
}

// fireAgain emits a window that had its end before the event came.
func (w *windowTask[E, A]) fireAgain(ctx context.Context, tx *stateful.Tx, p *pane[A], c *stateful.Cell[A], v A, had bool) error {
	pane := uint32(0)
	if had { // then it fired, once unless a number says more
		n, err := w.panes.Load(ctx, w.id)
		if err != nil {
			return err
		}
		p.numbered = true
		number, ok := n.Value()
		if !ok {
			number = 1
		}
		pane = number
		w.panes.Put(n, number+1)
	}
	return w.emit(tx, p.Span, c.Key()[endBytes:], v, pane)
}

// OnTimer implements [stateful.TimerHandler]: a trigger asked for it.
func (w *windowTask[E, A]) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return w.timer(ctx, tx, t, false)
}

// SkipTimer implements [stateful.TimerSkipper]: the trigger may ask for another.
func (w *windowTask[E, A]) SkipTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return w.timer(ctx, tx, t, true)
}

func (w *windowTask[E, A]) timer(ctx context.Context, tx *stateful.Tx, t stateful.Timer, failed bool) error {
	if w.trigger == nil || len(t.Namespace) != endBytes {
		return stateful.TaskFault(fmt.Errorf("there is a timer of %q, and no trigger that set it: the stored state is damaged", t.Key))
	}
	if w.about.changed {
		w.about.store()
	}
	end := stateful.ParseOrdered(t.Namespace)
	s, _ := w.cut.ending(end)
	c, err := w.load(ctx, end, t.Key, false)
	if err != nil {
		return err
	}
	if _, has := c.Value(); !has {
		return nil // what it was set for is gone
	}
	state, err := w.trigger.stateOf(ctx, []byte(c.Key()), true)
	if err != nil {
		return err
	}
	return w.trigger.rang(ctx, tx, &asked[A]{Span: s, key: t.Key, value: c, state: state, ended: s.Last() <= tx.Watermark()}, t, failed)
}
