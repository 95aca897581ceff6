package stateful

import (
	"context"
	"slices"
)

// taskTimers is what a task knows of its timers.
type taskTimers struct {
	nextTimer int64 // earliest event-time timer, or earlier
	timers    [2]timerQueue
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
