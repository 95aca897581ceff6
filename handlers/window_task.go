package handlers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// windowTask is a Window on one task.
//
// The state is a table from (end, key) to A: ordered by end, so that what is due
// together lies together and no timer has to be stored. A second table holds
// pane numbers, of the few windows that fired more than once.
type windowTask[E, A any] struct {
	name     string
	inputs   []string
	t        *stateful.Task
	windows  window.TumblingWindows
	lateness int64
	limits   stateful.Limits
	lateTo   string

	decode func([]byte, *E) error
	key    func(E) string
	time   func(E) time.Time
	init   func() A
	fold   func(A, E) (A, error)
	out    *resultWriter[A]

	cells *stateful.Table[A]
	panes *stateful.Table[uint32]
	about *aboutWindows
	stats *taskStats

	open  []*pane[A] // by end; what fired is before what did not
	fired int        // how many of open fired
	next  int64      // when something is due
	last  *pane[A]   // that of the record before; never one that is gone

	firing, cleaning drain[A]
	given            *drain[A] // whose head NextFiring returned last

	event  E // of the record in hand
	result output[A]
	id     []byte // its key in cells
}

// pane is one open window with all its keys. After a failed record, cells may
// hold some without a value: only the tables are rolled back.
type pane[A any] struct {
	window.Span
	prefix   []byte // of its keys in the tables
	gone     int64  // the watermark at which it is forgotten
	cells    []*stateful.Cell[A]
	sorted   bool
	cold     bool // the store may have cells that are not in memory
	numbered bool // the table panes may have cells of it
}

const endBytes = 8

// Event times lie between: RFC 3339 has four digits for the year, and the zero time.Time
// is a time that was forgotten.
var (
	minTime = time.Time{}.UnixMilli()
	maxTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

// Instance implements [stateful.Instancer].
func (w Window[E, A]) Instance(ctx context.Context, t *stateful.Task) (stateful.Handler, error) {
	codec, err := stateful.NewStateCodec(w.State)
	if err != nil {
		return nil, err
	}
	number, err := stateful.NewStateCodec(stateful.StateCodecConfig[uint32]{})
	if err != nil {
		return nil, err
	}
	if s, ok := w.Windows.(window.SessionWindows); ok {
		return newSessionTask(ctx, w, t, s)
	}
	tumbling, ok := w.Windows.(window.TumblingWindows)
	if !ok {
		return nil, fmt.Errorf("handlers: Windows is a %T: call Validate first", w.Windows)
	}
	a := w.aggregate()
	in := &windowTask[E, A]{
		name: w.Name, inputs: w.Inputs(), t: t, windows: tumbling, lateness: w.AllowedLateness.Milliseconds(), limits: t.Limits(), lateTo: w.LateTo,
		decode: stateful.Decoder[E](w.In), key: w.Key, time: w.Time, init: a.Init, fold: a.Fold,
		out:   newResultWriter(w),
		cells: stateful.NewTable(t, "w", codec),
		panes: stateful.NewTable(t, "n", number),
		stats: w.Stats.of(t),
		next:  math.MaxInt64,
		last:  nowhere[A](),
	}
	if in.about, err = describe(ctx, t, w.Windows.String()); err != nil {
		return nil, err
	}
	if err := in.findOpen(ctx); err != nil {
		return nil, err
	}
	return in, nil
}

// HandlerName implements [stateful.Handler].
func (w *windowTask[E, A]) HandlerName() string { return w.name }

// Inputs implements [stateful.Handler].
func (w *windowTask[E, A]) Inputs() []string { return w.inputs }

// nowhere is a pane that no time lies in.
func nowhere[A any]() *pane[A] { return &pane[A]{Span: window.Span{Start: 1}} }

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
		p := w.newPane(w.windows.Of(end - 1))
		if p.End != end {
			return stateful.TaskFault(fmt.Errorf("window state has a window that ends at %d, and %v have none: the stored state is damaged", end, w.windows))
		}
		p.cold = true
		numbered, err := w.panes.First(ctx, p.prefix)
		if err != nil {
			return err
		}
		p.numbered = strings.HasPrefix(numbered, string(p.prefix))
		w.open = append(w.open, p)
		from = stateful.AppendOrdered(from[:0], end+1)
	}
	w.reckon()
	return nil
}

func (w *windowTask[E, A]) newPane(s window.Span) *pane[A] {
	return &pane[A]{Span: s, prefix: stateful.AppendOrdered(nil, s.End), gone: s.Last() + w.lateness}
}

// Process implements [stateful.Handler]. It is the hot path: an event of a key and a
// window that are in memory allocates nothing.
func (w *windowTask[E, A]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	var zero E
	w.event = zero
	if err := w.decode(rec.Value, &w.event); err != nil {
		return stateful.Permanent(err)
	}
	ts := rec.Time
	if w.time != nil {
		ts = w.time(w.event).UnixMilli()
	}
	if ts <= minTime || ts >= maxTime {
		return w.badTime(ts)
	}
	ts, err := tx.Observe(ts)
	if err != nil {
		return err
	}
	wm, p := tx.Watermark(), w.last
	if !p.Contains(ts) {
		s := w.windows.Of(ts)
		if s.Last()+w.lateness <= wm {
			return w.late(tx, rec, s, wm)
		}
		if p, err = w.paneOf(s, wm); err != nil {
			return err
		}
		w.last = p
	}
	key := w.key(w.event)
	w.id = append(append(w.id[:0], p.prefix...), key...)
	c := w.cells.Find(w.id)
	if c == nil {
		if c, err = w.newCell(ctx, p, key); err != nil {
			return err
		}
	}
	v, had := c.Value()
	if !had {
		w.about.store()
		if w.init != nil {
			v = w.init()
		}
	}
	if v, err = w.fold(v, w.event); err != nil {
		return err
	}
	w.cells.Put(c, v)
	if w.stats != nil {
		bump(&w.stats.folded)
		w.stats.watermark.Store(wm)
	}
	if p.Last() <= wm {
		return w.fireAgain(ctx, tx, p, c, v, had)
	}
	return nil
}

func (w *windowTask[E, A]) badTime(ts int64) error {
	switch ts {
	case stateful.NoTime:
		return stateful.Permanent(errors.New("the record has no time of its own: set Time"))
	case minTime:
		return stateful.Permanent(errors.New("the event's time is the zero time.Time: it was never set"))
	}
	return stateful.Permanent(fmt.Errorf("the event's time, or its window, is outside the years 1 to 9999: %d ms since 1970", ts))
}

// paneOf returns the pane of s, opening it when needed.
func (w *windowTask[E, A]) paneOf(s window.Span, wm int64) (*pane[A], error) {
	at, found := slices.BinarySearchFunc(w.open, s.End, func(p *pane[A], end int64) int {
		switch {
		case p.End < end:
			return -1
		case p.End > end:
			return 1
		}
		return 0
	})
	if found {
		return w.open[at], nil
	}
	if s.Start <= minTime || s.End >= maxTime {
		return nil, w.badTime(s.Last())
	}
	// No advance is unfinished while records are processed, so all that could fire did.
	w.passed(wm)
	p := w.newPane(s)
	w.open = slices.Insert(w.open, at, p)
	if s.Last() <= wm {
		w.fired++
	}
	w.reckon()
	return p, nil
}

// newCell returns the cell of w.id, which is not in memory.
func (w *windowTask[E, A]) newCell(ctx context.Context, p *pane[A], key string) (*stateful.Cell[A], error) {
	if len(key) > w.limits.KeyBytes {
		return nil, stateful.Permanent(fmt.Errorf("Key returned %d bytes; the limit is %d (Limits.KeyBytes)", len(key), w.limits.KeyBytes))
	}
	if err := w.t.CheckKey(key); err != nil {
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
	for c, err := range w.cells.Cold(ctx, p.prefix, stateful.AppendOrdered(nil, p.End+1)) {
		if err != nil {
			return err
		}
		p.add(c)
	}
	p.cold = false
	return nil
}

// late takes an event whose window is gone.
func (w *windowTask[E, A]) late(tx *stateful.Tx, rec *stateful.Record, s window.Span, wm int64) error {
	if w.stats != nil {
		bump(&w.stats.late)
		w.stats.watermark.Store(wm)
	}
	if w.lateTo == "" {
		return nil
	}
	bounds := append(appendTime(make([]byte, 0, 64), s.Start), '/')
	headers := make([]stateful.Header, 0, 3+len(rec.Headers))
	headers = append(headers,
		stateful.Header{Key: LateReason, Value: "the window and its allowed lateness have passed"},
		stateful.Header{Key: LateWindow, Value: string(appendTime(bounds, s.End))})
	if wm < maxTime {
		headers = append(headers, stateful.Header{Key: LateWatermark, Value: string(appendTime(nil, wm))})
	}
	headers = append(headers, rec.Headers...)
	return tx.Emit(stateful.Row{Topic: w.lateTo, Key: rec.Key, Payload: rec.Value, Headers: headers, Time: rec.Time})
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

func (w *windowTask[E, A]) emit(tx *stateful.Tx, s window.Span, key string, v A, pane uint32) error {
	w.result = output[A]{Span: s, id: s, key: key, value: v, pane: pane}
	if err := w.out.emit(tx, &w.result); err != nil {
		return err
	}
	if w.stats != nil {
		bump(&w.stats.fired)
	}
	return nil
}
