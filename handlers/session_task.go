package handlers

import (
	"context"
	"encoding/binary"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// sessionTask is a Window of sessions on one task.
//
// The table "s" has the sessions of each key under the key: an event costs one look-up and
// one write. What is due is found by a dueIndex, and of which key many sessions are
// open, those before the latest are in the table "o". Nothing else is kept in memory but what can
// be told from these.
type sessionTask[E, A any] struct {
	core[E, A]
	gap     int64
	trigger Trigger // nil: the usual one, of which nothing is kept
	mode    EmitMode

	keys  *stateful.Table[keySessions[A]]
	older *stateful.Table[session[A]]
	due   dueIndex
	count *stateful.Table[int]
	open  *stateful.Cell[int] // how many sessions are
	last  *stateful.Cell[int] // the last of their ends, nil where that is known from the latest event
	next  int64               // when something is due, or earlier

	id    []byte
	spans []window.Span
	found *stateful.Cell[keySessions[A]] // the cell of a key that was looked for last
}

func newSessionTask[E, A any](ctx context.Context, w Window[E, A], t *stateful.Task, c core[E, A], s window.SessionWindows) (*sessionTask[E, A], error) {
	value, err := stateful.NewStateCodec(w.State)
	if err != nil {
		return nil, err
	}
	due, err := stateful.NewStateCodec(stateful.StateCodecConfig[dueKeys]{})
	if err != nil {
		return nil, err
	}
	count, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	if err != nil {
		return nil, err
	}
	in := &sessionTask[E, A]{
		core: c,
		gap:  s.Gap(), mode: w.Emit,
		keys:  stateful.NewTable(t, "s", keySessionsCodec[A]{sessionCodec[A]{value}}),
		older: stateful.NewTable(t, "o", sessionCodec[A]{value}),
		due:   dueIndex{table: stateful.NewTable(t, "d", due), width: s.Gap()},
		count: stateful.NewTable(t, "c", count),
	}
	if in.open, err = in.count.Load(ctx, []byte("open")); err != nil {
		return nil, err
	}
	if in.last, err = in.count.Load(ctx, []byte("last")); err != nil {
		return nil, err
	}
	if _, begun := in.last.Value(); !begun && w.Where == nil {
		in.last = nil // all events are in sessions
	}
	in.choose(w)
	if err := in.due.find(ctx); err != nil {
		return nil, err
	}
	in.next = in.due.earliest()
	in.opened(0)
	return in, nil
}

// choose decides whether the trigger is asked about sessions: by the usual one nothing need be kept of them, as long
// as they were of no other.
func (w *sessionTask[E, A]) choose(of Window[E, A]) {
	a := w.about
	open, _ := w.open.Value()
	switch is := a.now.trigger; {
	case is != usual:
		w.trigger = of.trigger()
		a.keep(is, window.Never)
	case a.before != usual && open > 0:
		w.trigger = of.trigger()
		a.keep(a.before, window.Never)
	default:
		a.keep(usual, window.Never)
	}
}

// Process implements [stateful.Handler]. It is the hot path: an event that goes on with the
// latest session of its key allocates nothing.
func (w *sessionTask[E, A]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
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
	key, wm := w.key(w.event), tx.Watermark()
	c := w.keys.FindString(key)
	if c == nil {
		if c, err = w.newCell(ctx, key); err != nil {
			return err
		}
	}
	k, had := c.Value()
	end := max(k.End, ts+w.gap)
	if w.trigger != nil || !had || ts < k.Start || ts > k.End || k.Last() <= wm || end >= maxTime {
		if err := w.arrange(ctx, tx, rec, c, ts, wm); err != nil {
			return err
		}
	} else {
		if k.value, err = w.fold(k.value, w.event); err != nil {
			return err
		}
		k.End = end
		w.reached(end)
		w.keys.Put(c, k)
		w.folded(wm)
	}
	return nil
}

// newCell returns the cell of a key that is not in memory.
func (w *sessionTask[E, A]) newCell(ctx context.Context, key string) (*stateful.Cell[keySessions[A]], error) {
	if err := w.checkKey(key); err != nil {
		return nil, err
	}
	w.id = append(w.id[:0], key...)
	if w.due.cold() {
		return w.keys.Load(ctx, w.id)
	}
	return w.keys.Fresh(w.id), nil
}

// olderCell returns the cell of an older session, with its value if it has one.
func (w *sessionTask[E, A]) olderCell(ctx context.Context, key string, id uint32) (*stateful.Cell[session[A]], error) {
	w.id = binary.BigEndian.AppendUint32(append(w.id[:0], key...), id)
	return w.older.Load(ctx, w.id)
}

// opened takes note that so many more sessions are open.
func (w *sessionTask[E, A]) opened(more int) {
	n, _ := w.open.Value()
	if more != 0 {
		n += more
		w.count.Put(w.open, n)
	}
	if w.stats != nil {
		w.stats.open.Store(int64(n))
	}
}

// reached takes note of the end of a session that an event went into.
func (w *sessionTask[E, A]) reached(end int64) {
	if w.last == nil {
		return
	}
	last, begun := w.last.Value()
	if !begun {
		last = int(w.ending())
	}
	if !begun || end > int64(last) {
		w.count.Put(w.last, int(max(end, int64(last))))
	}
}

// ending returns the last end of the open sessions, window.Never when none is open. Without Where it is that of the
// latest event: whatever session has it is closed after all others.
func (w *sessionTask[E, A]) ending() int64 {
	latest := w.t.Latest()
	if n, _ := w.open.Value(); n == 0 || latest <= minTime || latest >= maxTime {
		return window.Never
	}
	if w.last != nil {
		if end, begun := w.last.Value(); begun {
			return int64(end)
		}
	}
	return latest + w.gap
}

// FlushTo returns the watermark at which the last of the open sessions is forgotten; window.Never
// when none is open.
func (w *sessionTask[E, A]) FlushTo() int64 {
	end := w.ending()
	if end == window.Never {
		return window.Never
	}
	return end - 1 + w.lateness
}

// schedule sees to it that the key is looked at when the first of its sessions is due. k is not put.
func (w *sessionTask[E, A]) schedule(ctx context.Context, key string, k *keySessions[A], known bool) error {
	at, _, _ := k.due(w.lateness)
	if known && k.look <= at {
		return nil
	}
	return w.lookAt(ctx, key, k, at)
}

func (w *sessionTask[E, A]) lookAt(ctx context.Context, key string, k *keySessions[A], at int64) error {
	k.look = at
	w.next = min(w.next, at)
	return w.due.add(ctx, at, key)
}

var _ stateful.Firer = (*sessionTask[int, int])(nil)

// Due implements [stateful.Firer].
func (w *sessionTask[E, A]) Due() int64 { return w.next }
