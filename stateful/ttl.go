package stateful

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Time to live. What expires carries the first millisecond at which it is gone in the header of
// its value; whoever reads compares that with a clock, so that nothing expired is ever seen, and a
// sweep removes it later. The sweep finds it by an index: for each entry that expires there is
// one key, ordered by time, at or before the expiry. An entry that is written again keeps its key in
// the index, too early then, and the sweep moves that on; so a busy entry costs the index
// one write per time to live, not one per change.

// expiries is the lowest time in the index of each clock, or a lower one.
type expiries struct {
	next  [2]int64
	swept int64 // when something was, by the processor's clock
}

func (e *expiries) of(clock TimerKind) *int64 { return &e.next[clock-EventTime] }

// expiryClock returns the time, in milliseconds since 1970 UTC, that decides what has expired:
// the watermark, or the transaction's now. While something fires it is the time of that, so that
// what a timer sees does not depend on how far the watermark jumped.
func (tx *Tx) expiryClock(clock TimerKind) int64 {
	switch {
	case clock == ProcessingTime:
		return tx.Now().UnixMilli()
	case tx.firing != NoTime:
		return max(tx.firing, tx.t.meta.advanced)
	}
	return tx.t.wm.Now()
}

// writtenAt returns the time from which what is written now lives.
func (tx *Tx) writtenAt(clock TimerKind) (int64, error) {
	var at int64
	switch {
	case clock == ProcessingTime || tx.firing != NoTime:
		return tx.expiryClock(clock), nil
	case tx.observed:
		return tx.eventTime, nil
	case tx.rec != nil:
		at = tx.rec.Time
	default: // a processing-time timer
		at = tx.t.wm.Now()
	}
	if at == NoTime {
		return 0, Permanent(errors.New("state with a TTL in event time was written when no event time was known: " +
			"call Tx.Observe before, or set its Clock to ProcessingTime"))
	}
	return at, nil
}

// expiryKey is the key in the index of what is stored under full.
func expiryKey(clock TimerKind, at int64, full string) string {
	b := make([]byte, 0, 9+len(full))
	b = append(b, spaceExpiry[0], byte(clock))
	b = AppendOrdered(b, at)
	return string(append(b, full[len(spaceTable):]...))
}

func parseExpiryKey(k string) (clock TimerKind, at int64, full string, err error) {
	if len(k) < 11 || k[0] != spaceExpiry[0] || TimerKind(k[1]) != EventTime && TimerKind(k[1]) != ProcessingTime {
		return 0, 0, "", fmt.Errorf("expiry %x cannot be read: the stored state is damaged", k)
	}
	return TimerKind(k[1]), ParseOrdered(k[2:10]), spaceTable + k[10:], nil
}

func expiryPrefix(clock TimerKind) string { return spaceExpiry + string(rune(clock)) }

// findExpiries learns, when the task is opened, what the index holds.
func (t *Task) findExpiries(ctx context.Context) error {
	for _, clock := range []TimerKind{EventTime, ProcessingTime} {
		prefix, next := expiryPrefix(clock), t.expiries.of(clock)
		*next = math.MaxInt64
		for e, err := range t.store.Scan(ctx, prefix, after(prefix)) {
			if err == nil {
				_, *next, _, err = parseExpiryKey(e.Key)
			}
			if err != nil {
				return fmt.Errorf("find what expires: %w", err)
			}
			break
		}
	}
	return nil
}

// sweepClock is the time at which what has expired may go: what fires next must still find
// what it would have found had the watermark moved in small steps.
func (t *Task) sweepClock(clock TimerKind) int64 {
	if clock == ProcessingTime {
		return t.tx.Now().UnixMilli()
	}
	return t.meta.advanced
}

// sweepsWhenQuiet reports whether something expired waits for a commit and none has come for long.
func (t *Task) sweepsWhenQuiet() bool {
	due := false
	for _, clock := range []TimerKind{EventTime, ProcessingTime} {
		next := *t.expiries.of(clock)
		due = due || next != math.MaxInt64 && next <= t.sweepClock(clock)
	}
	return due && t.tx.Now().UnixMilli()-t.expiries.swept >= t.p.cfg.Limits.SweepEvery.Milliseconds()
}

// sweepExpired removes a bounded number of entries that have expired: as many as the transaction made
// that will, and Limits.SweepEntries more.
func (t *Task) sweepExpired(ctx context.Context, tx *Tx) error {
	left := t.p.cfg.Limits.SweepEntries + tx.indexed // keeps up with what is written
	for _, clock := range []TimerKind{EventTime, ProcessingTime} {
		next := t.expiries.of(clock)
		if *next == math.MaxInt64 || left == 0 {
			continue
		}
		now := t.sweepClock(clock)
		if *next > now {
			continue
		}
		t.expiries.swept = tx.Now().UnixMilli()
		due, err := t.dueExpiries(ctx, tx, clock, now, left)
		if err == nil {
			left -= len(due)
			err = t.expire(ctx, tx, clock, now, due)
		}
		if err != nil {
			return TaskFault(fmt.Errorf("sweep what has expired: %w", err))
		}
	}
	return nil
}

// dueExpiry is a key of the index and what it stands for.
type dueExpiry struct{ key, full string }

// dueExpiries returns at most limit keys of the index that are due, and learns what is next.
func (t *Task) dueExpiries(ctx context.Context, tx *Tx, clock TimerKind, now int64, limit int) ([]dueExpiry, error) {
	prefix, next := expiryPrefix(clock), t.expiries.of(clock)
	var due []dueExpiry
	for e, err := range tx.scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		_, at, full, err := parseExpiryKey(e.Key)
		if err != nil {
			return nil, err
		}
		if *next = at; at > now || len(due) == limit {
			return due, nil
		}
		due = append(due, dueExpiry{e.Key, full})
	}
	*next = math.MaxInt64
	return due, nil
}

// expire removes what is due, or moves its key in the index on when it was written again.
func (t *Task) expire(ctx context.Context, tx *Tx, clock TimerKind, now int64, due []dueExpiry) error {
	var cold []string // what is not in memory
	var keys []dueExpiry
	for _, d := range due {
		tx.del(d.key)
		if at, ok := t.expireDecoded(d.full, now); !ok {
			cold, keys = append(cold, d.full), append(keys, d)
		} else if at > now {
			t.index(tx, clock, at, d.full)
		}
	}
	if len(cold) == 0 {
		return nil
	}
	values, err := t.store.Get(ctx, cold...)
	if err != nil {
		return err
	}
	for i, v := range values {
		if v == nil {
			continue
		}
		switch at, err := ValueExpiry(v); {
		case err != nil:
			return fmt.Errorf("%x: %w", keys[i].full, err)
		case at == NoExpiry:
		case at <= now:
			tx.del(keys[i].full)
		default:
			t.index(tx, clock, at, keys[i].full)
		}
	}
	return nil
}

func (t *Task) index(tx *Tx, clock TimerKind, at int64, full string) {
	tx.indexed++
	tx.put(expiryKey(clock, at, full), []byte{})
	next := t.expiries.of(clock)
	*next = min(*next, at)
}

// expireDecoded removes an entry that is in memory, if it has expired; see expiring.
func (t *Task) expireDecoded(full string, now int64) (at int64, ok bool) {
	for i := range t.states {
		if s := &t.states[i]; strings.HasPrefix(full, s.prefix) {
			return s.cells.expire(full[len(s.prefix):], now)
		}
	}
	return 0, false
}
