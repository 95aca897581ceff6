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

// windowTask is a Window on one task, where each window and key has a value of its own.
//
// The state is a table from (end, key) to A: ordered by end, so that what is due
// together lies together and no timer has to be stored. By the default trigger a second table holds
// pane numbers, of the few windows that fired more than once; other triggers have a
// table of what they keep of every window.
type windowTask[E, A any] struct {
	core[E, A]
	cut       cut
	finalOnly bool
	cells     *stateful.Table[A]
	panes     *stateful.Table[uint32] // not with a trigger
	trigger   *triggering[E, A]       // nil by default

	open  []*pane[A] // by end; what fired is before what did not
	fired int        // how many of open fired
	next  int64      // when something is due

	slice window.Span // all its times are in the panes of hit, and in windows that are gone
	hit   []*pane[A]  // those of the record before; never one that is gone

	firing, cleaning drain[A]
	given            *drain[A] // whose head NextFiring returned last

	id []byte // key in cells, of the pane in hand
}

// pane is one open window with all its keys. After a failed record, cells may
// hold some without a value: only the tables are rolled back.
type pane[A any] struct {
	window.Span
	prefix   []byte // of its keys in the tables
	fires    int64  // the watermark at which it fires
	gone     int64  // that at which it is forgotten
	cells    []*stateful.Cell[A]
	sorted   bool
	cold     bool // the store may have cells that are not in memory
	numbered bool // the table panes may have cells of it
}

const endBytes = 8

// Instance implements [stateful.Instancer].
func (w Window[E, A]) Instance(ctx context.Context, t *stateful.Task) (stateful.Handler, error) {
	c, err := newCore(ctx, w, t)
	if err != nil {
		return nil, err
	}
	if s, ok := w.Windows.(window.SessionWindows); ok {
		return newSessionTask(ctx, w, t, c, s)
	}
	if strings.HasSuffix(c.about.now.windows, inSlices) {
		return newSlicedTask(ctx, w, t, c)
	}
	return newWindowTask(ctx, w, t, c)
}

func newWindowTask[E, A any](ctx context.Context, w Window[E, A], t *stateful.Task, c core[E, A]) (*windowTask[E, A], error) {
	codec, err := stateful.NewStateCodec(w.State)
	if err != nil {
		return nil, err
	}
	in := &windowTask[E, A]{
		core:      c,
		finalOnly: w.Trigger == FinalOnly(),
		cells:     stateful.NewTable(t, "w", codec),
		slice:     nowhere,
	}
	if in.cut, err = cutOf(w.Windows); err != nil {
		return nil, err
	}
	if in.cut.everlasting {
		in.lateness = 0 // there is no end to be late for
	}
	number, err := stateful.NewStateCodec(stateful.StateCodecConfig[uint32]{})
	if err != nil {
		return nil, err
	}
	in.panes = stateful.NewTable(t, "n", number)
	g, err := newTriggering(w, t, &in.core, in.cells, codec)
	if err != nil {
		return nil, err
	}
	if err := in.choose(ctx, w.plain(), g); err != nil {
		return nil, err
	}
	return in, in.findOpen(ctx)
}

// choose decides whether g is asked about the windows. It need not be as long as nothing is kept of them, under no
// other trigger either; and when it is, those of which nothing is kept are as the trigger before left them.
func (w *windowTask[E, A]) choose(ctx context.Context, plain bool, g *triggering[E, A]) error {
	a := w.about
	left, err := w.cells.First(ctx, nil)
	if err != nil {
		return err
	}
	kept, err := g.states.First(ctx, nil)
	if err != nil {
		return err
	}
	if plain && kept == "" && (left == "" || a.before == a.now.trigger) {
		a.keep(a.now.trigger, window.Never)
		return nil
	}
	w.trigger = g
	before, _ := splitTrigger(a.before)
	final := before == FinalOnly().String()
	switch {
	case left == "" && !plain:
		a.keep(a.now.trigger, window.Never)
	case !final && a.before != usual: // something is kept of all
		a.keep(a.before, window.Never)
	default:
		since := a.since
		if since == window.Never {
			since = w.t.Advanced()
		}
		a.keep(a.before, since)
		g.left = &leftWindows{fired: !final, since: since, panes: w.panes}
	}
	return nil
}

// nowhere is a span that no time lies in.
var nowhere = window.Span{Start: 1}

// findOpen finds the windows that are stored, one look-up for each.
func (w *windowTask[E, A]) findOpen(ctx context.Context) error {
	for from := []byte(nil); ; {
		key, err := w.cells.First(ctx, from)
		if err != nil {
			return err
		}
		if key == "" {
			break
		}
		if len(key) < endBytes {
			return stateful.TaskFault(fmt.Errorf("window state has the key %x, which is too short: the stored state is damaged", key))
		}
		end := stateful.ParseOrdered(key)
		s, ok := w.cut.ending(end)
		if !ok {
			return stateful.TaskFault(fmt.Errorf("window state has a window that ends at %d, and %v have none: the stored state is damaged", end, w.cut.windows))
		}
		p := w.newPane(s)
		p.cold = true
		if w.trigger == nil {
			numbered, err := w.panes.First(ctx, p.prefix)
			if err != nil {
				return err
			}
			p.numbered = strings.HasPrefix(numbered, string(p.prefix))
		}
		w.open = append(w.open, p)
		if end == math.MaxInt64 {
			break
		}
		from = stateful.AppendOrdered(from[:0], end+1)
	}
	w.reckon()
	return nil
}

func (w *windowTask[E, A]) newPane(s window.Span) *pane[A] {
	p := &pane[A]{Span: s, prefix: stateful.AppendOrdered(nil, s.End), fires: s.Last(), gone: s.Last() + w.lateness}
	if w.finalOnly {
		p.fires = p.gone
	}
	return p
}

// behind returns a bound for the keys of a pane, which lie before it.
func (p *pane[A]) behind() []byte {
	if p.End == math.MaxInt64 {
		return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	return stateful.AppendOrdered(nil, p.End+1)
}

// Process implements [stateful.Handler]. It is the hot path: an event of a key and
// windows that are in memory allocates nothing.
func (w *windowTask[E, A]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	ts, taken, err := w.observe(tx, rec)
	if err != nil {
		return err
	}
	if w.about.changed { // with the first event, be it taken or not: it may move the watermark
		w.about.store()
	}
	if !taken {
		return nil
	}
	wm := tx.Watermark()
	if !w.slice.Contains(ts) {
		late, err := w.assign(ts, wm)
		if err != nil {
			return err
		}
		if late {
			return w.late(tx, rec, w.cut.newest(ts), wm)
		}
	}
	key := w.key(w.event)
	for _, p := range w.hit {
		if err := w.add(ctx, tx, p, key, ts, wm); err != nil {
			return err
		}
	}
	w.folded(wm)
	return nil
}

// add folds the event in hand into one of its windows.
func (w *windowTask[E, A]) add(ctx context.Context, tx *stateful.Tx, p *pane[A], key string, ts, wm int64) error {
	w.id = append(append(w.id[:0], p.prefix...), key...)
	c := w.cells.Find(w.id)
	if c == nil {
		var err error
		if c, err = w.newCell(ctx, p, key); err != nil {
			return err
		}
	}
	v, had := c.Value()
	if !had {
		w.about.store()
		v = w.start()
	}
	v, err := w.fold(v, w.event)
	if err != nil {
		return err
	}
	w.cells.Put(c, v)
	if w.trigger != nil {
		state, err := w.trigger.stateOf(ctx, w.id, p.cold)
		if err != nil {
			return err
		}
		return w.trigger.element(ctx, tx, &asked[A]{Span: p.Span, key: c.Key()[endBytes:], value: c, state: state, fresh: !had, ended: p.Last() <= wm}, ts)
	}
	if p.fires <= wm {
		return w.fireAgain(ctx, tx, p, c, v, had)
	}
	return nil
}

// assign finds the panes of ts. It is late when all its windows are gone.
func (w *windowTask[E, A]) assign(ts, wm int64) (late bool, err error) {
	w.slice, w.hit = nowhere, w.hit[:0]
	for s := range w.cut.spans(ts) {
		if w.gone(s, wm) {
			continue
		}
		p, err := w.paneOf(s, wm)
		if err != nil {
			return false, err
		}
		w.hit = append(w.hit, p)
	}
	if len(w.hit) == 0 {
		return true, nil
	}
	w.slice = w.cut.slice(ts)
	return false, nil
}

// at returns where the window that ends at end is, or would be, among the open ones.
func (w *windowTask[E, A]) at(end int64) (int, bool) {
	return slices.BinarySearchFunc(w.open, end, func(p *pane[A], end int64) int {
		switch {
		case p.End < end:
			return -1
		case p.End > end:
			return 1
		}
		return 0
	})
}

// paneOf returns the pane of s, opening it when needed.
func (w *windowTask[E, A]) paneOf(s window.Span, wm int64) (*pane[A], error) {
	at, found := w.at(s.End)
	if found {
		return w.open[at], nil
	}
	if !w.cut.everlasting {
		if err := checkSpan(s); err != nil {
			return nil, err
		}
	}
	// No advance is unfinished while records are processed, so all that could fire did.
	w.passed(wm)
	p := w.newPane(s)
	w.open = slices.Insert(w.open, at, p)
	if p.fires <= wm {
		w.fired++
	}
	w.reckon()
	return p, nil
}

// newCell returns the cell of w.id, which is not in memory.
func (w *windowTask[E, A]) newCell(ctx context.Context, p *pane[A], key string) (*stateful.Cell[A], error) {
	if err := w.checkKey(key); err != nil {
		return nil, err
	}
	if len(w.open) > w.limits.WindowsPerKey {
		if err := w.warm(ctx, p); err != nil {
			return nil, err
		}
		if c := w.cells.Find(w.id); c != nil {
			return c, nil
		}
		if err := w.checkWindows(ctx, key); err != nil {
			return nil, err
		}
		w.id = append(append(w.id[:0], p.prefix...), key...)
	}
	if !p.cold {
		c := w.cells.Fresh(w.id)
		p.add(c)
		return c, nil
	}
	c, err := w.cells.Load(ctx, w.id)
	if err != nil {
		return nil, err
	}
	p.add(c)
	return c, nil
}

func (p *pane[A]) add(c *stateful.Cell[A]) {
	p.cells = append(p.cells, c)
	p.sorted = false
}

// checkWindows refuses one more window of a key that has as many as it may. It
// is asked only while more windows than that are open, of all keys.
func (w *windowTask[E, A]) checkWindows(ctx context.Context, key string) error {
	n := 0
	for _, p := range w.open {
		if err := w.warm(ctx, p); err != nil {
			return err
		}
		w.id = append(append(w.id[:0], p.prefix...), key...)
		if c := w.cells.Find(w.id); c != nil {
			if _, has := c.Value(); has {
				n++
			}
		}
	}
	if n >= w.limits.WindowsPerKey {
		return stateful.Permanent(fmt.Errorf("key %q has %d open windows, the limit (Limits.WindowsPerKey): are its event times right?", key, n))
	}
	return nil
}

// warm brings all of a pane into memory.
func (w *windowTask[E, A]) warm(ctx context.Context, p *pane[A]) error {
	if !p.cold {
		return nil
	}
	for c, err := range w.cells.Cold(ctx, p.prefix, p.behind()) {
		if err != nil {
			return err
		}
		p.add(c)
	}
	if w.trigger != nil {
		if err := w.trigger.warm(ctx, p.prefix, p.behind()); err != nil {
			return err
		}
	}
	p.cold = false
	return nil
}
