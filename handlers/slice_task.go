package handlers

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// slicedTask is a Window of sliding windows on one task, where each slice and key has one value, and a window
// is merged from its slices when it fires.
//
// The state is a table from (key, start of slice) to A, in the order in which firings of one window come, so
// that a task whose state is not in memory reads it in one go. A second table has the open slices, so that
// a task is opened without a look at the values, and a third the pane numbers of the few windows that fired more
// than once.
type slicedTask[E, A any] struct {
	core[E, A]
	cut       slicing
	finalOnly bool
	wait      int64 // how long after its end a window fires
	values    *stateful.Table[A]
	starts    *stateful.Table[int]
	panes     *stateful.Table[uint32]

	open     []*openSlice[A]          // in order of time
	keys     map[string]*slicedKey[A] // those that have slices in memory
	at       *openSlice[A]            // that of the record before
	cold     bool                     // the store may have values that are not in memory
	numbered bool                     // it had pane numbers when the task was opened
	more     int64                    // how many windows open[1:] are in that those before them are not in

	fired int64 // the watermark up to which all windows fired
	next  int64 // when something is due

	members []*slicedKey[A] // in order; all that have a slice in the window that fired last, unless cold
	joining []*slicedKey[A] // those that are to be members, in no order
	covered int64           // of slices that begin before, all keys are members, or joining, or had no use for it

	firing, cleaning sliceDrain[A]
	given            *sliceDrain[A] // whose head NextFiring returned last

	id []byte
}

// openSlice is a slice that some window that is not gone is made of.
type openSlice[A any] struct {
	window.Span
	number         int64
	oldest, newest int64 // ends of the first and last window that it is in
	fires          int64 // the watermark at which the first of them fires
	gone           int64 // that at which the last is forgotten
	stored         *stateful.Cell[int]
	keys           []*slicedKey[A] // of its leaves in memory, in no order
	cold           bool            // the store may have others
}

func newSlicedTask[E, A any](ctx context.Context, w Window[E, A], t *stateful.Task, c core[E, A]) (*slicedTask[E, A], error) {
	values, err := stateful.NewStateCodec(w.State)
	if err != nil {
		return nil, err
	}
	starts, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	if err != nil {
		return nil, err
	}
	panes, err := stateful.NewStateCodec(stateful.StateCodecConfig[uint32]{})
	if err != nil {
		return nil, err
	}
	in := &slicedTask[E, A]{
		core: c, cut: slicingOf(w.Windows.(window.SlidingWindows)), finalOnly: w.Trigger == FinalOnly(),
		values:  stateful.NewTable(t, "v", values),
		starts:  stateful.NewTable(t, "l", starts),
		panes:   stateful.NewTable(t, "m", panes),
		keys:    make(map[string]*slicedKey[A]),
		fired:   window.Never,
		covered: math.MinInt64,
	}
	if in.finalOnly {
		in.wait = in.lateness
	}
	if in.finalOnly && c.about.had > in.lateness {
		return nil, stateful.TaskFault(fmt.Errorf("AllowedLateness was %v and is %v: windows in slices that FinalOnly holds back can wait longer than they did, "+
			"not shorter: set it back, or give the handler another Name, under which it starts empty",
			time.Duration(c.about.had)*time.Millisecond, time.Duration(in.lateness)*time.Millisecond))
	}
	c.about.keep(c.about.now.trigger, window.Never)
	return in, in.findOpen(ctx)
}

// findOpen finds the slices that are stored.
func (w *slicedTask[E, A]) findOpen(ctx context.Context) error {
	for c, err := range w.starts.Cold(ctx, nil, []byte{0xff}) { // no time begins with it
		if err != nil {
			return err
		}
		start := int64(0)
		if len(c.Key()) == endBytes {
			start = stateful.ParseOrdered(c.Key())
		}
		length, _ := c.Value()
		s := w.cut.Slice(start)
		if len(c.Key()) != endBytes || s.Start != start || s.End-s.Start != int64(length) {
			return stateful.TaskFault(fmt.Errorf("there is a slice %x of %d ms, and %v have no such: the stored state is damaged", c.Key(), length, w.cut))
		}
		o := w.newSlice(s)
		o.stored, o.cold = c, true
		w.insert(len(w.open), o)
	}
	w.cold = len(w.open) > 0
	name, err := w.panes.First(ctx, nil)
	w.numbered = name != ""
	w.reckon()
	return err
}

func (w *slicedTask[E, A]) newSlice(s window.Span) *openSlice[A] {
	o := &openSlice[A]{Span: s, number: w.cut.number(s.Start), oldest: w.cut.Oldest(s.Start).End, newest: w.cut.Newest(s.Start).End}
	o.fires, o.gone = w.fires(o.oldest), o.newest-1+w.lateness
	return o
}

// fires returns the watermark at which the window that ends at end fires.
func (w *slicedTask[E, A]) fires(end int64) int64 { return end - 1 + w.wait }

// Process implements [stateful.Handler]. It is the hot path: an event of a key and slice
// that are in memory allocates nothing.
func (w *slicedTask[E, A]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
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
	if w.about.changed {
		w.about.store()
	}
	wm := tx.Watermark()
	s := w.at
	if s == nil || !s.Contains(ts) {
		newest := w.cut.Newest(ts)
		if w.gone(newest, wm) {
			return w.late(tx, rec, newest, wm)
		}
		if s, err = w.sliceOf(ctx, ts, wm); err != nil {
			return err
		}
		w.at = s
	} else if s.gone <= wm || s.newest-1 <= w.about.closed {
		return w.late(tx, rec, w.cut.Newest(ts), wm)
	}
	key := w.key(w.event)
	k := w.keys[key]
	c := k.cell(s.number)
	if c == nil {
		if k, c, err = w.newCell(ctx, s, k, key, wm); err != nil {
			return err
		}
	}
	v, had := c.Value()
	if !had {
		w.about.store()
		if _, has := s.stored.Value(); !has {
			w.starts.Put(s.stored, int(s.End-s.Start))
		}
		w.joins(k, s)
		v = w.start()
	}
	if v, err = w.fold(v, w.event); err != nil {
		return err
	}
	w.values.Put(c, v)
	if s.fires <= wm {
		if err := w.fireAgain(ctx, tx, s, k, wm, had); err != nil {
			return err
		}
	}
	w.folded(wm)
	return nil
}

// sliceOf returns the slice of ts, opening it when needed.
func (w *slicedTask[E, A]) sliceOf(ctx context.Context, ts, wm int64) (*openSlice[A], error) {
	s := w.cut.Slice(ts)
	at, found := w.search(w.cut.number(s.Start))
	if found {
		return w.open[at], nil
	}
	o := w.newSlice(s)
	if err := checkSpan(window.Span{Start: o.oldest - w.cut.Size(), End: o.newest}); err != nil {
		return nil, err
	}
	var err error
	if o.stored, err = w.starts.Load(ctx, stateful.AppendOrdered(nil, s.Start)); err != nil {
		return nil, err
	}
	if at > 0 { // likely as many keys as there
		o.keys = make([]*slicedKey[A], 0, len(w.open[at-1].keys))
	}
	// No advance is unfinished while records are processed, so all that could fire did.
	w.fired = max(w.fired, wm)
	w.insert(at, o)
	w.reckon()
	return o, nil
}

// search returns where the slice of a number is, or would be, among the open ones.
func (w *slicedTask[E, A]) search(number int64) (int, bool) {
	return slices.BinarySearchFunc(w.open, number, func(s *openSlice[A], n int64) int { return cmp.Compare(s.number, n) })
}

// insert puts a slice at its place among the open ones.
func (w *slicedTask[E, A]) insert(at int, s *openSlice[A]) {
	w.more -= w.adds(at)
	w.open = slices.Insert(w.open, at, s)
	w.more += w.adds(at) + w.adds(at+1)
}

// remove takes the slices whose last window ends at end, the first there are, away.
func (w *slicedTask[E, A]) remove(end int64) {
	from, _ := w.ending(end - 1)
	to, _ := w.ending(end)
	for i := from; i < to; i++ {
		w.more -= w.adds(i)
		w.starts.Delete(w.open[i].stored)
	}
	w.more -= w.adds(to)
	if from == 0 { // always, but when the allowed lateness was another in an earlier run
		clear(w.open[:to])
		w.open = w.open[to:]
	} else {
		w.open = slices.Delete(w.open, from, to)
	}
	w.more += w.adds(from)
}

// ending returns where the first slice is whose last window ends after t.
func (w *slicedTask[E, A]) ending(t int64) (int, bool) {
	return slices.BinarySearchFunc(w.open, t, func(s *openSlice[A], t int64) int {
		if s.newest <= t {
			return -1
		}
		return 1
	})
}

// adds returns how many windows the i-th slice is in that the one before it is not in.
func (w *slicedTask[E, A]) adds(i int) int64 {
	if i < 1 || i >= len(w.open) {
		return 0
	}
	s := w.open[i]
	return (s.newest - max(s.oldest-w.cut.Slide(), w.open[i-1].newest)) / w.cut.Slide()
}

// windows returns how many windows are open, of all keys.
func (w *slicedTask[E, A]) windows() int64 {
	if len(w.open) == 0 {
		return 0
	}
	first := w.open[0].oldest
	if gone := upTo(w.fired, w.lateness); gone >= first {
		first = w.cut.after(gone)
	}
	return (w.open[0].newest-first)/w.cut.Slide() + 1 + w.more
}

// upTo returns the end of the last window that has been reached, with so much lateness, at a watermark.
func upTo(wm, lateness int64) int64 {
	if wm == window.Never || wm == window.Forever {
		return wm
	}
	return wm + 1 - lateness
}

// newCell returns the cell of a slice and key that is not in memory. k is nil when nothing of the key is.
func (w *slicedTask[E, A]) newCell(ctx context.Context, s *openSlice[A], k *slicedKey[A], key string, wm int64) (*slicedKey[A], *stateful.Cell[A], error) {
	if k == nil {
		if err := w.checkKey(key); err != nil {
			return nil, nil, err
		}
	}
	if w.windows() > int64(w.limits.WindowsPerKey) {
		if err := w.checkWindows(ctx, s, key, wm); err != nil {
			return nil, nil, err
		}
	}
	w.id = appendSliceName(w.id[:0], key, s.Start)
	if !s.cold {
		c := w.values.Fresh(w.id)
		return w.attach(key, s, c), c, nil
	}
	c, err := w.values.Load(ctx, w.id)
	if err != nil {
		return nil, nil, err
	}
	return w.attach(key, s, c), c, nil
}

// attach makes a cell part of its key and slice.
func (w *slicedTask[E, A]) attach(key string, s *openSlice[A], c *stateful.Cell[A]) *slicedKey[A] {
	k := w.keys[key]
	if k == nil {
		name := c.Key()
		k = &slicedKey[A]{key: unescaped(name[:len(name)-endBytes-1]), whole: !w.cold, numbered: w.cold && w.numbered}
		w.keys[k.key] = k
	}
	if !k.insert(s.number, c) {
		return k
	}
	s.keys = append(s.keys, k)
	w.joins(k, s)
	return k
}

// joins sees to it that a key with something in a slice is a member. A slice that a record which failed left empty
// may have been passed by.
func (w *slicedTask[E, A]) joins(k *slicedKey[A], s *openSlice[A]) {
	if !w.cold && s.Start < w.covered && !k.member {
		k.member = true
		w.joining = append(w.joining, k)
	}
}

// load brings all slices of a key into memory, and returns what is there of it, which may be nil.
func (w *slicedTask[E, A]) load(ctx context.Context, key string) (*slicedKey[A], error) {
	if k := w.keys[key]; !w.cold || k != nil && k.whole {
		return k, nil
	}
	escaped := string(appendEscaped(nil, key))
	for c, err := range w.values.Cold(ctx, append([]byte(escaped), 0), behindKey(nil, escaped)) {
		if err != nil {
			return nil, err
		}
		_, start, err := parseSliceName(c.Key())
		if err != nil {
			return nil, err
		}
		at, found := w.search(w.cut.number(start))
		if !found {
			return nil, stateful.TaskFault(fmt.Errorf("key %q has a value in a slice at %d that is not open: the stored state is damaged", key, start))
		}
		w.attach(key, w.open[at], c)
	}
	k := w.keys[key]
	if k != nil {
		k.whole = true
	}
	return k, nil
}

// checkWindows refuses one more slice of a key that would have more windows than it may. It is asked only while
// more windows than that are open, of all keys.
func (w *slicedTask[E, A]) checkWindows(ctx context.Context, s *openSlice[A], key string, wm int64) error {
	k, err := w.load(ctx, key)
	if err != nil || k == nil {
		return err
	}
	last := upTo(wm, w.lateness) // the end of the last window that was counted, or is gone
	n := int64(0)
	count := func(o *openSlice[A]) {
		from := max(o.oldest, w.cut.after(max(last, o.Start)))
		if o.newest >= from {
			n += (o.newest-from)/w.cut.Slide() + 1
			last = o.newest
		}
	}
	counted := false
	for _, l := range k.leaves {
		if !counted && l.n >= s.number {
			counted = true
			count(s)
		}
		if _, has := l.cell.Value(); has {
			at, _ := w.search(l.n)
			count(w.open[at])
		}
	}
	if !counted {
		count(s)
	}
	if most := int64(w.limits.WindowsPerKey); n > most {
		return stateful.Permanent(fmt.Errorf("key %q would have %d open windows, the limit is %d (Limits.WindowsPerKey): are its event times right?", key, n, most))
	}
	return nil
}
