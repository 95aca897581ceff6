package stateful

import (
	"context"
	"fmt"
	"slices"
)

// taskTimers is what a task knows of its timers.
type taskTimers struct {
	nextTimer int64 // earliest event-time timer, or earlier
	timers    [2]timerQueue
	counted   bool // meta.timers is how many there are, no more
}

// timerQueue holds the first timers of one kind, as the transaction sees them. It is read in
// chunks (T3): a scan for each firing would begin at all that fired before it in the same commit.
type timerQueue struct {
	keys []string // in order
	upTo string   // there are no others below it
	all  bool     // nor beyond
}

const timerChunk = 256

func (t *Task) timersOf(kind TimerKind) *timerQueue { return &t.timers[kind-EventTime] }

// firstTimer returns the earliest timer of a kind.
func (t *Task) firstTimer(ctx context.Context, kind TimerKind) (Timer, bool, error) {
	q := t.timersOf(kind)
	if len(q.keys) == 0 && !q.all {
		if err := t.readTimers(ctx, kind, q); err != nil {
			q.forget()
			return Timer{}, false, err
		}
	}
	if len(q.keys) == 0 {
		return Timer{}, false, nil
	}
	timer, err := parseTimerKey(q.keys[0])
	return timer, err == nil, TaskFault(err)
}

func (t *Task) readTimers(ctx context.Context, kind TimerKind, q *timerQueue) error {
	prefix := spaceTimer + string(rune(kind))
	q.keys = make([]string, 0, timerChunk)
	for e, err := range t.tx.scan(ctx, max(prefix, q.upTo), after(prefix)) {
		if err != nil {
			return err
		}
		if len(q.keys) == timerChunk {
			q.upTo = e.Key
			return nil
		}
		q.keys = append(q.keys, e.Key)
	}
	q.all = true
	return nil
}

// Timers are limited (F4), and most tasks have far fewer. So their number is only known as an upper bound: whether one that is
// set was there before, or one that is deleted, is not read where it is not known. Once the bound comes near the limit
// they are counted, and from then on it is read.

// countTimers counts the timers when their number may be near the limit. No record is in hand.
func (t *Task) countTimers(ctx context.Context) error {
	l, m := &t.p.cfg.Limits, &t.meta
	if t.counted || m.timers >= 0 && m.timers+2*int64(l.CommitRows) < int64(l.Timers) {
		return nil
	}
	m.timers = 0
	for _, err := range t.tx.scan(ctx, spaceTimer, after(spaceTimer)) {
		if err != nil {
			return err
		}
		m.timers++
	}
	t.counted = true
	return nil
}

// hasTimer reports whether a timer is surely set.
func (t *Task) hasTimer(q *timerQueue, key string) bool {
	if q.all || key < q.upTo {
		_, found := slices.BinarySearch(q.keys, key)
		return found
	}
	if !t.counted {
		return false
	}
	v, err := t.tx.get(t.tx.ctx, key)
	return err == nil && v != nil // an error is the task's, see Tx.faulty
}

// dropTimer takes away a timer that fired or is no longer wanted.
func (t *Task) dropTimer(kind TimerKind, key string) {
	q := t.timersOf(kind)
	if t.hasTimer(q, key) {
		t.meta.timers--
	}
	t.tx.del(key)
	q.drop(key)
}

// errTimers refuses a timer beyond the limit.
func (t *Task) errTimers() error {
	return Permanent(fmt.Errorf("set timer: the task has %d timers already: delete those no longer needed, or raise Limits.Timers", t.meta.timers))
}

// set takes note of a timer that was set.
func (q *timerQueue) set(key string) {
	if !q.all && key >= q.upTo {
		return
	}
	at, found := slices.BinarySearch(q.keys, key)
	if found {
		return
	}
	q.keys = slices.Insert(q.keys, at, key)
	if len(q.keys) > 2*timerChunk {
		q.upTo, q.all = q.keys[timerChunk], false
		clear(q.keys[timerChunk:])
		q.keys = q.keys[:timerChunk]
	}
}

// drop takes note of a timer that fired or was deleted.
func (q *timerQueue) drop(key string) {
	switch at, found := slices.BinarySearch(q.keys, key); {
	case found && at == 0:
		q.keys = q.keys[1:]
	case found:
		q.keys = slices.Delete(q.keys, at, at+1)
	}
}

// forget makes the next look read again.
func (q *timerQueue) forget() { *q = timerQueue{} }

func (t *Task) forgetTimers() {
	for i := range t.timers {
		t.timers[i].forget()
	}
}
