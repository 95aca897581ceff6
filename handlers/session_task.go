package handlers

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

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
	name     string
	inputs   []string
	t        *stateful.Task
	gap      int64
	lateness int64
	limits   stateful.Limits
	lateTo   string

	decode func([]byte, *E) error
	key    func(E) string
	time   func(E) time.Time
	init   func() A
	fold   func(A, E) (A, error)
	merge  func(a, b A) (A, error)
	out    *resultWriter[A]

	keys  *stateful.Table[keySessions[A]]
	older *stateful.Table[session[A]]
	due   dueIndex
	count *stateful.Table[int]
	open  *stateful.Cell[int] // how many sessions are
	about *aboutWindows
	stats *taskStats
	next  int64 // when something is due, or earlier

	event  E // of the record in hand
	result output[A]
	id     []byte
	spans  []window.Span
}

func newSessionTask[E, A any](ctx context.Context, w Window[E, A], t *stateful.Task, s window.SessionWindows) (*sessionTask[E, A], error) {
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
	a := w.aggregate()
	in := &sessionTask[E, A]{
		name: w.Name, inputs: w.Inputs(), t: t, gap: s.Gap(), lateness: w.AllowedLateness.Milliseconds(), limits: t.Limits(), lateTo: w.LateTo,
		decode: stateful.Decoder[E](w.In), key: w.Key, time: w.Time, init: a.Init, fold: a.Fold, merge: a.Merge,
		out:   newResultWriter(w),
		keys:  stateful.NewTable(t, "s", keySessionsCodec[A]{sessionCodec[A]{value}}),
		older: stateful.NewTable(t, "o", sessionCodec[A]{value}),
		due:   dueIndex{table: stateful.NewTable(t, "d", due), width: s.Gap()},
		count: stateful.NewTable(t, "c", count),
		stats: w.Stats.of(t),
	}
	if in.about, err = describe(ctx, t, s.String()); err != nil {
		return nil, err
	}
	if in.open, err = in.count.Load(ctx, []byte("open")); err != nil {
		return nil, err
	}
	if err := in.due.find(ctx); err != nil {
		return nil, err
	}
	in.next = in.due.earliest()
	in.opened(0)
	return in, nil
}

// HandlerName implements [stateful.Handler].
func (w *sessionTask[E, A]) HandlerName() string { return w.name }

// Inputs implements [stateful.Handler].
func (w *sessionTask[E, A]) Inputs() []string { return w.inputs }

// Process implements [stateful.Handler]. It is the hot path: an event that goes on with the
// latest session of its key allocates nothing.
func (w *sessionTask[E, A]) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
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
	key, wm := w.key(w.event), tx.Watermark()
	c := w.keys.FindString(key)
	if c == nil {
		if c, err = w.newCell(ctx, key); err != nil {
			return err
		}
	}
	k, had := c.Value()
	end := max(k.End, ts+w.gap)
	if !had || ts < k.Start || ts > k.End || k.Last() <= wm || end >= maxTime {
		if err := w.arrange(ctx, tx, rec, c, ts, wm); err != nil {
			return err
		}
	} else {
		if k.value, err = w.fold(k.value, w.event); err != nil {
			return err
		}
		k.End = end
		w.keys.Put(c, k)
		w.folded()
	}
	if w.stats != nil {
		w.stats.watermark.Store(wm)
	}
	return nil
}

func (w *sessionTask[E, A]) folded() {
	if w.stats != nil {
		bump(&w.stats.folded)
	}
}

// newCell returns the cell of a key that is not in memory.
func (w *sessionTask[E, A]) newCell(ctx context.Context, key string) (*stateful.Cell[keySessions[A]], error) {
	if len(key) > w.limits.KeyBytes {
		return nil, stateful.Permanent(fmt.Errorf("Key returned %d bytes; the limit is %d (Limits.KeyBytes)", len(key), w.limits.KeyBytes))
	}
	if err := w.t.CheckKey(key); err != nil {
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

// FlushTo returns the watermark at which the last of the open sessions is forgotten; window.Never
// when none is open. That is the one of the latest event: whatever session has it is closed after all others.
func (w *sessionTask[E, A]) FlushTo() int64 {
	n, _ := w.open.Value()
	latest := w.t.Latest()
	if n == 0 || latest <= minTime || latest >= maxTime {
		return window.Never
	}
	return latest + w.gap - 1 + w.lateness
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

// nothing is when nothing is due.
const nothing = math.MaxInt64
