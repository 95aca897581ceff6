package handlers

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// core is what the tasks of all kinds of windows share: the way from a record to an
// event, and from a value to a result.
type core[E, A any] struct {
	name     string
	inputs   []string
	t        *stateful.Task
	limits   stateful.Limits
	lateness int64
	delay    int64
	lateTo   string

	decode func([]byte, *E) error
	key    func(E) string
	time   func(E) time.Time
	where  func(E) bool // nil: all
	init   func() A
	fold   func(A, E) (A, error)
	merge  func(a, b A) (A, error)
	out    *resultWriter[A]
	about  *aboutWindows
	stats  *taskStats

	event  E // of the record in hand
	result output[A]
}

// Event times lie between: RFC 3339 has four digits for the year, and the zero time.Time
// is a time that was forgotten.
var (
	minTime = time.Time{}.UnixMilli()
	maxTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

func newCore[E, A any](ctx context.Context, w Window[E, A], t *stateful.Task) (c core[E, A], err error) {
	a := w.aggregate()
	c = core[E, A]{
		name: w.Name, inputs: w.Inputs(), t: t, limits: t.Limits(), lateness: w.AllowedLateness.Milliseconds(),
		delay: w.MaxDelay.Milliseconds(), lateTo: w.LateTo,
		decode: stateful.Decoder[E](w.In), key: w.Key, time: w.Time, where: w.Where, init: a.Init, fold: a.Fold, merge: a.Merge,
		out:   newResultWriter(w),
		stats: w.Stats.of(t),
	}
	c.about, err = describe(ctx, t, w.identities(), c.lateness)
	return c, err
}

// HandlerName implements [stateful.Handler].
func (w *core[E, A]) HandlerName() string { return w.name }

// Inputs implements [stateful.Handler].
func (w *core[E, A]) Inputs() []string { return w.inputs }

// start returns the value of a window that has no event.
func (w *core[E, A]) start() (v A) {
	if w.init != nil {
		return w.init()
	}
	return v
}

// observe decodes the event in hand, tells the transaction when it happened, and reports whether
// it is taken.
func (w *core[E, A]) observe(tx *stateful.Tx, rec *stateful.Record) (at int64, taken bool, err error) {
	var zero E
	w.event = zero
	if err := w.decode(rec.Value, &w.event); err != nil {
		return 0, false, stateful.Permanent(err)
	}
	ts := rec.Time
	if w.time != nil {
		ts = w.time(w.event).UnixMilli()
	}
	if err := checkTime(ts); err != nil {
		return 0, false, err
	}
	if ts, err = tx.Observe(ts); err != nil {
		return 0, false, err
	}
	if w.where == nil || w.where(w.event) {
		return ts, true, nil
	}
	if w.stats != nil {
		bump(&w.stats.filtered)
		w.stats.watermark.Store(tx.Watermark())
	}
	return ts, false, nil
}

// gone reports whether a window is forgotten at the watermark wm: it takes no event any more.
func (w *core[E, A]) gone(s window.Span, wm int64) bool {
	return s.Last()+w.lateness <= wm || s.Last() <= w.about.closed
}

// checkSpan refuses windows that results could not show.
func checkSpan(s window.Span) error {
	if s.Start <= minTime || s.End >= maxTime {
		return stateful.Permanent(fmt.Errorf("a window of the event is outside the years 1 to 9999: from %d to %d ms since 1970", s.Start, s.End))
	}
	return nil
}

// checkKey returns why a key that comes for the first time cannot be taken.
func (w *core[E, A]) checkKey(key string) error {
	if len(key) > w.limits.KeyBytes {
		return stateful.Permanent(fmt.Errorf("Key returned %d bytes; the limit is %d (Limits.KeyBytes)", len(key), w.limits.KeyBytes))
	}
	return w.t.CheckKey(key)
}

// folded counts an event that went into its windows.
func (w *core[E, A]) folded(wm int64) {
	if w.stats != nil {
		bump(&w.stats.folded)
		w.stats.watermark.Store(wm)
	}
}

// late takes an event all of whose windows are gone, of which s was the last.
func (w *core[E, A]) late(tx *stateful.Tx, rec *stateful.Record, s window.Span, wm int64) error {
	if w.stats != nil {
		bump(&w.stats.late)
		w.stats.watermark.Store(wm)
	}
	if w.lateTo == "" {
		return nil
	}
	headers := make([]stateful.Header, 0, 3+len(rec.Headers))
	headers = append(headers, stateful.Header{Key: LateReason, Value: w.whyLate(s, wm)})
	if s.Start > minTime {
		bounds := append(appendTime(make([]byte, 0, 64), s.Start), '/')
		headers = append(headers, stateful.Header{Key: LateWindow, Value: string(appendTime(bounds, s.End))})
	}
	if wm < maxTime {
		headers = append(headers, stateful.Header{Key: LateWatermark, Value: string(appendTime(nil, wm))})
	}
	headers = append(headers, rec.Headers...)
	return tx.Emit(stateful.Row{Topic: w.lateTo, Key: rec.Key, Payload: rec.Value, Headers: headers, Time: rec.Time})
}

// whyLate says what closed the window that an event missed.
func (w *core[E, A]) whyLate(s window.Span, wm int64) string {
	switch {
	case wm >= maxTime:
		return LateByEnd
	case s.Last()+w.lateness >= w.t.Latest()-w.delay: // where the watermark is by events alone
		return LateByFlush
	}
	return LateByWatermark
}

// emit emits the result of a window.
func (w *core[E, A]) emit(tx *stateful.Tx, s window.Span, key string, v A, pane uint32) error {
	w.result = output[A]{Span: s, id: s, key: key, value: v, pane: pane}
	return w.give(tx)
}

// give emits w.result.
func (w *core[E, A]) give(tx *stateful.Tx) error {
	if err := w.out.emit(tx, &w.result); err != nil {
		return err
	}
	if w.stats != nil {
		if w.result.retract {
			bump(&w.stats.retracted)
		} else {
			bump(&w.stats.fired)
		}
	}
	return nil
}
