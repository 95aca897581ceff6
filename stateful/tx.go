package stateful

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// The first byte of every key of a task. docs/formats.md has the table.
const (
	spaceDedup    = "d"
	spaceSchema   = "h"
	spaceMeta     = "m"
	spaceRow      = "o"
	spacePrepared = "p"
	spaceTable    = "s"
	spaceTimer    = "t"
	spaceUser     = "u"
	spaceExpiry   = "x"
)

// Tx is the transaction of a batch on one task. What a handler does through it
// becomes visible, all together, when the processor commits; when the record in
// hand fails, what that record did is undone (T2). A Tx must not be used from
// several goroutines, nor after the call it was passed to has returned.
type Tx struct {
	t *Task

	// What the next commit will hold. index finds the raw writes by key; the
	// tables write theirs at the end.
	writes  []Write
	index   map[string]int
	sorted  byKey // writes
	arena   []byte
	indexed int // keys added to the index of what expires
	marked  int // records without a position that were marked
	rows    []Row
	rowLen  int    // bytes of keys and payloads in rows
	rowMem  []byte // what is left of the piece of memory for them: rows outlive their commit

	// The record in hand.
	record    uint64 // rises with every savepoint
	undo      []undoWrite
	rowMark   int
	timerMark int64 // Task.nextTimer at the savepoint
	timers    int64 // meta.timers then
	rec       *Record
	observed  bool
	eventTime int64
	firing    int64 // time of the firing or event-time timer in hand, else NoTime

	ctx    context.Context // of the batch
	wanted [1]string       // memory for the key of a lookup
	keyMem []byte          // and for the keys of rows

	now   time.Time // sampled once
	fault error     // of the store, whatever the handler made of it
}

type undoWrite struct {
	at    int
	value []byte
	fresh bool // the write was not there before
}

// savepoint begins a record: what follows can be undone.
func (tx *Tx) savepoint(rec *Record) {
	tx.record++
	tx.undo = tx.undo[:0]
	tx.rowMark = len(tx.rows)
	tx.timerMark, tx.timers = tx.t.nextTimer, tx.t.meta.timers
	tx.rec = rec
	tx.observed, tx.firing = false, NoTime
}

// rollback undoes what was done since the savepoint.
func (tx *Tx) rollback() {
	for _, u := range slices.Backward(tx.undo) {
		if !u.fresh {
			tx.writes[u.at].Value = u.value
			continue
		}
		delete(tx.index, tx.writes[u.at].Key)
		tx.writes = tx.writes[:u.at]
	}
	tx.sorted.cut(len(tx.writes))
	tx.undo = tx.undo[:0]
	clear(tx.rows[tx.rowMark:])
	tx.rows = tx.rows[:tx.rowMark]
	tx.t.nextTimer, tx.t.meta.timers = tx.timerMark, tx.timers
	tx.t.forgetTimers()
	tx.observed = false
	for _, tb := range tx.t.tables {
		tb.rollback(tx.record)
	}
}

// Task returns the task that the transaction belongs to.
func (tx *Tx) Task() *Task { return tx.t }

// Watermark returns the task's watermark in milliseconds since 1970 UTC. While a
// firing is handled it is the watermark that made it due.
func (tx *Tx) Watermark() int64 { return tx.t.wm.Now() }

// Flushing reports whether what is firing now fires because the inputs fell silent
// (Pace.FlushAfter), and not because the watermark came to it by events.
func (tx *Tx) Flushing() bool { return tx.t.meta.flushing }

// Now returns the processor's clock, sampled once per transaction.
func (tx *Tx) Now() time.Time {
	if tx.now.IsZero() {
		tx.now = tx.t.p.cfg.Now()
	}
	return tx.now
}

// Observe says at which event time, in milliseconds since 1970 UTC, the record in
// hand happened, and returns the time it counts for: the same, unless that is too far
// in the future. A time more than Limits.Future beyond the record's own is a permanent error
// and moves nothing (W4), or with Limits.FutureClamp that bound itself. The
// watermark follows once the record has been processed.
func (tx *Tx) Observe(ms int64) (int64, error) {
	if from, known := tx.present(); known && ms > from && ms-from > tx.t.future {
		l := &tx.t.p.cfg.Limits
		if !l.FutureClamp {
			return 0, Permanent(fmt.Errorf("event time %s is more than %v after %s: correct the producer's clock, or raise Limits.Future",
				formatMillis(ms), l.Future, formatMillis(from)))
		}
		ms = from + tx.t.future
	}
	tx.observed, tx.eventTime = true, ms
	return ms, nil
}

// present returns what event times are compared with, and whether there is anything.
func (tx *Tx) present() (int64, bool) {
	switch {
	case tx.t.byClock:
		return tx.Now().UnixMilli(), true
	case tx.rec == nil || tx.rec.Time == NoTime:
		return 0, false
	}
	return tx.rec.Time, true
}

func formatMillis(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// Get returns the value of key, nil when there is none. The caller owns it.
func (tx *Tx) Get(ctx context.Context, key string) ([]byte, error) { return tx.get(ctx, spaceUser+key) }

// Put sets key to a copy of value.
func (tx *Tx) Put(key string, value []byte) { tx.put(spaceUser+key, value) }

// Delete removes key.
func (tx *Tx) Delete(key string) { tx.del(spaceUser + key) }

// Scan yields the entries in [from, to) in byte order, those of this transaction
// included; an empty to means "to the end". Nothing may be written while it
// runs. A value is valid until the next one.
func (tx *Tx) Scan(ctx context.Context, from, to string) iter.Seq2[Entry, error] {
	end := spaceUser + to
	if to == "" {
		end = string(spaceUser[0] + 1)
	}
	return func(yield func(Entry, error) bool) {
		for e, err := range tx.scan(ctx, spaceUser+from, end) {
			if err == nil {
				e.Key = e.Key[len(spaceUser):]
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (tx *Tx) get(ctx context.Context, key string) ([]byte, error) {
	if i, ok := tx.index[key]; ok {
		return slices.Clone(tx.writes[i].Value), nil
	}
	tx.wanted[0] = key
	vals, err := tx.t.store.Get(ctx, tx.wanted[:]...)
	if err != nil {
		return nil, tx.faulty("read state", err)
	}
	return vals[0], nil
}

// faulty makes err the task's, even when the handler swallows it.
func (tx *Tx) faulty(what string, err error) error {
	if tx.fault == nil {
		tx.fault = TaskFault(fmt.Errorf("%s: %w", what, err))
	}
	return tx.fault
}

func (tx *Tx) put(key string, value []byte) {
	if tx.arena == nil {
		tx.arena = []byte{} // a slice of nothing would be nil, and nil deletes
	}
	at := len(tx.arena)
	tx.arena = append(tx.arena, value...)
	tx.write(key, tx.arena[at:len(tx.arena):len(tx.arena)])
}

func (tx *Tx) del(key string) { tx.write(key, nil) }

func (tx *Tx) write(key string, value []byte) {
	if i, ok := tx.index[key]; ok {
		tx.undo = append(tx.undo, undoWrite{at: i, value: tx.writes[i].Value})
		tx.writes[i].Value = value
		return
	}
	tx.undo = append(tx.undo, undoWrite{at: len(tx.writes), fresh: true})
	tx.index[key] = len(tx.writes)
	tx.writes = append(tx.writes, Write{Key: key, Value: value})
}

// scan merges the transaction's own writes over the store's entries. Nothing may be written while
// it runs.
func (tx *Tx) scan(ctx context.Context, from, to string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		own := tx.sorted.between(len(tx.writes), func(i int32) string { return tx.writes[i].Key }, from, to)
		// flush yields own writes below key.
		flush := func(key string, all bool) bool {
			for len(own) > 0 && (all || tx.writes[own[0]].Key < key) {
				w := tx.writes[own[0]]
				own = own[1:]
				if w.Value != nil && !yield(Entry(w), nil) {
					return false
				}
			}
			return true
		}
		for e, err := range tx.t.store.Scan(ctx, from, to) {
			if err != nil {
				yield(Entry{}, tx.faulty("scan state", err))
				return
			}
			if !flush(e.Key, false) {
				return
			}
			if len(own) > 0 && tx.writes[own[0]].Key == e.Key {
				continue // ours is newer, and comes with the next flush
			}
			if !yield(e, nil) {
				return
			}
		}
		flush("", true)
	}
}

// Emit adds an output: it is stored with the transaction and published after
// the commit, in order. Everything is copied. An output that its sink could
// never take is a permanent error here, where it is still the record's (K4).
func (tx *Tx) Emit(row Row) error {
	n := len(tx.rows)
	tx.rows = append(tx.rows, row)
	r := &tx.rows[n] // the argument itself would have to be allocated for the sink's check
	if err := tx.t.checkRow(r); err != nil {
		*r = Row{}
		tx.rows = tx.rows[:n]
		return Permanent(fmt.Errorf("emit to %q: %w", row.Topic, err))
	}
	mem := tx.rowMemory(len(row.Key) + len(row.Payload))
	copy(mem[copy(mem, row.Key):], row.Payload)
	if row.Key != nil {
		r.Key = mem[:len(row.Key):len(row.Key)]
	}
	if row.Payload != nil { // one that is nil is a tombstone
		r.Payload = mem[len(row.Key):]
	}
	r.Headers = slices.Clone(row.Headers)
	r.Seq = tx.t.meta.nextRow + uint64(n)
	return nil
}

// rowPiece is how much memory for keys and payloads is allocated at once. A row keeps the whole piece
// from being collected until it is published.
const rowPiece = 32 << 10

// rowMemory returns n bytes that are not nil.
func (tx *Tx) rowMemory(n int) []byte {
	tx.rowLen += n
	if n > rowPiece/4 {
		return make([]byte, n)
	}
	if n > len(tx.rowMem) || tx.rowMem == nil {
		tx.rowMem = make([]byte, rowPiece)
	}
	mem := tx.rowMem[:n:n]
	tx.rowMem = tx.rowMem[n:]
	return mem
}

// SetTimer registers a timer; setting the same one again changes nothing (T7). One more than Limits.Timers is a
// permanent error (F4).
func (tx *Tx) SetTimer(t Timer) error {
	if t.Kind != EventTime && t.Kind != ProcessingTime {
		return Permanent(errors.New("set timer: Kind must be EventTime or ProcessingTime"))
	}
	if _, ok := tx.t.inst.(TimerHandler); !ok {
		return Permanent(fmt.Errorf("set timer: handler %q has no OnTimer", tx.t.id.Handler))
	}
	key, q := timerKey(t), tx.t.timersOf(t.Kind)
	if !tx.t.hasTimer(q, key) {
		if tx.t.meta.timers >= int64(tx.t.p.cfg.Limits.Timers) {
			return tx.t.errTimers()
		}
		tx.t.meta.timers++
	}
	tx.put(key, []byte{})
	q.set(key)
	if t.Kind == EventTime {
		tx.t.nextTimer = min(tx.t.nextTimer, t.Time)
	}
	return nil
}

// DeleteTimer removes a timer; one that is not there is not missed.
func (tx *Tx) DeleteTimer(t Timer) {
	if t.Kind != EventTime && t.Kind != ProcessingTime {
		return // SetTimer refuses it, so there is none
	}
	tx.t.dropTimer(t.Kind, timerKey(t))
}

// Timers are ordered by kind, then time, then namespace and key.
func timerKey(t Timer) string {
	b := make([]byte, 0, 12+len(t.Namespace)+len(t.Key))
	b = append(b, spaceTimer[0], byte(t.Kind))
	b = AppendOrdered(b, t.Time)
	b = binary.AppendUvarint(b, uint64(len(t.Namespace)))
	b = append(append(b, t.Namespace...), t.Key...)
	return string(b)
}

func parseTimerKey(k string) (Timer, error) {
	bad := fmt.Errorf("timer %x cannot be read: the stored state is damaged", k)
	if len(k) < 11 || k[0] != spaceTimer[0] {
		return Timer{}, bad
	}
	t := Timer{Kind: TimerKind(k[1]), Time: ParseOrdered(k[2:10])}
	n, w := binary.Uvarint([]byte(k[10:min(len(k), 20)]))
	if w <= 0 || n > uint64(len(k)-10-w) {
		return Timer{}, bad
	}
	t.Namespace, t.Key = k[10+w:10+w+int(n)], k[10+w+int(n):]
	return t, nil
}

// AppendOrdered appends 8 bytes whose byte order is the order of v.
func AppendOrdered(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v)^(1<<63))
}

// ParseOrdered is the inverse of [AppendOrdered]; s has at least 8 bytes.
func ParseOrdered(s string) int64 {
	_ = s[7]
	var u uint64
	for i := range 8 {
		u = u<<8 | uint64(s[i])
	}
	return int64(u ^ (1 << 63))
}

// full reports whether the commit has reached its limits, with what the sweep will add.
func (tx *Tx) full() bool {
	l := &tx.t.p.cfg.Limits
	n, bytes := len(tx.writes)+len(tx.rows)+2*tx.indexed+tx.marked, len(tx.arena)+tx.rowLen
	for _, tb := range tx.t.tables {
		n += tb.pending()
	}
	return n >= l.CommitRows || bytes >= l.CommitBytes
}

func (tx *Tx) reset(b buffer) {
	clear(tx.index)
	tx.writes, tx.arena = b.writes, b.arena
	tx.sorted.cut(0)
	tx.rows, tx.rowLen, tx.indexed, tx.marked = b.rows, 0, 0, 0
	tx.now, tx.fault = time.Time{}, nil
	tx.savepoint(nil) // what interrupts the task before its next record has nothing to undo
}
