package stateful

import (
	"context"
	"fmt"
	"math"
)

// firings is how far a task is with what is due.
type firings struct {
	advancing bool // an advance is not finished
	midway    bool // so does the store say
	ripe      bool // the record done last made something due
	flushed   bool // by silence, and no record came since
}

// due reports whether anything is due at watermark wm. It is asked for every record.
func (t *Task) due(wm int64) bool {
	return t.nextTimer <= wm || t.firer != nil && t.firer.Due() <= wm
}

// overdue reports whether a timer was set for a time that had passed already.
func (t *Task) overdue() bool { return t.nextTimer != math.MaxInt64 && t.nextTimer <= t.wm.Now() }

// noFiring comes before every other.
var noFiring = Firing{Time: math.MinInt64}

// advance fires everything due at the watermark, in order of time, committing as
// often as the limits ask for (T3). It goes on where the last call, or the last
// process, was interrupted.
func (t *Task) advance(ctx context.Context, pol *Policy) error {
	wm, m := t.wm.Now(), &t.meta
	if !t.advancing {
		m.fired, t.advancing = noFiring, true
	}
	for {
		timer, hasTimer, err := t.nextEventTimer(ctx, wm)
		if err != nil {
			return err
		}
		var f Firing
		var ok bool
		if t.firer != nil {
			if f, ok, err = t.firer.NextFiring(ctx, t.tx, m.advanced, wm, m.fired); err != nil {
				return TaskFault(fmt.Errorf("find what is due: %w", err))
			}
		}
		switch {
		case hasTimer && (!ok || timer.Time <= f.Time):
			err = t.fireTimer(ctx, pol, timer)
		case ok:
			err = t.fireOne(ctx, pol, f)
			m.fired = Firing{Time: f.Time, Kind: f.Kind, Key: f.Key}
		default:
			t.advancing, m.advanced, m.flushing = false, wm, false
			t.changed = t.changed || t.midway
			return nil
		}
		if err != nil {
			return err
		}
		if t.tx.full() {
			if err := t.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// fireOne runs one firing until it succeeds or is dead-lettered with its key and
// time (T9).
func (t *Task) fireOne(ctx context.Context, pol *Policy, f Firing) error {
	return t.firing(ctx, pol, f,
		func() error {
			t.tx.firing = f.Time
			return t.firer.Fire(ctx, t.tx, f)
		},
		func() error { return t.firer.Skip(ctx, t.tx, f) })
}

func (t *Task) fireTimer(ctx context.Context, pol *Policy, timer Timer) error {
	key := timerKey(timer)
	return t.firing(ctx, pol, Firing{Time: timer.Time, Kind: uint8(timer.Kind), Key: timer.Key},
		func() error {
			t.dropTimer(timer.Kind, key)
			if timer.Kind == EventTime {
				t.tx.firing = timer.Time
			}
			return t.inst.(TimerHandler).OnTimer(ctx, t.tx, timer)
		},
		func() error {
			t.dropTimer(timer.Kind, key)
			if s, ok := t.inst.(TimerSkipper); ok {
				return s.SkipTimer(ctx, t.tx, timer)
			}
			return nil
		})
}

func (t *Task) firing(ctx context.Context, pol *Policy, f Firing, fire, skip func() error) error {
	for {
		t.tx.savepoint(nil)
		records := 0
		err := t.attempt(ctx, pol, &records, func() error {
			switch err := fire(); {
			case err != nil:
				return err
			case t.tx.fault != nil: // the handler may have swallowed it
				return t.tx.fault
			case t.checking:
				return t.check()
			}
			return nil
		})
		if err == nil {
			t.changed = true
			t.moveOn()
			return nil
		}
		t.tx.rollback()
		v, stop := t.judge(ctx, pol, failing{fire: f}, err)
		if stop != nil {
			return stop
		}
		switch v {
		case giveBack:
			return err
		case bury:
			t.tx.savepoint(nil)
			if err := skip(); err != nil {
				return TaskFault(err)
			}
			t.changed = true
			err = t.deadLetter(nil, nil, &f, err)
			t.moveOn()
			return err
		}
	}
}

// nextEventTimer returns the first event-time timer due at wm.
func (t *Task) nextEventTimer(ctx context.Context, wm int64) (Timer, bool, error) {
	// At the end of time nextTimer cannot say that there is none.
	if _, ok := t.inst.(TimerHandler); !ok || t.nextTimer > wm {
		return Timer{}, false, nil
	}
	timer, ok, err := t.firstTimer(ctx, EventTime)
	if err != nil {
		return Timer{}, false, err
	}
	t.nextTimer = math.MaxInt64
	if ok {
		t.nextTimer = timer.Time
	}
	return timer, ok && timer.Time <= wm, nil
}

// findTimers learns, when the task is opened, which timers there are.
func (t *Task) findTimers(ctx context.Context) error {
	t.forgetTimers()
	t.counted = false
	if err := t.countTimers(ctx); err != nil {
		return err
	}
	t.nextTimer = math.MaxInt64
	timer, ok, err := t.firstTimer(ctx, EventTime)
	if err != nil {
		return err
	}
	if ok {
		t.nextTimer = timer.Time
	}
	return nil
}

// clockTimers fires the processing-time timers that are due at the transaction's now.
func (t *Task) clockTimers(ctx context.Context, pol *Policy) error {
	if _, ok := t.inst.(TimerHandler); !ok {
		return nil
	}
	for {
		timer, ok, err := t.firstTimer(ctx, ProcessingTime)
		if err != nil || !ok || timer.Time > t.tx.Now().UnixMilli() {
			return err
		}
		if err := t.fireTimer(ctx, pol, timer); err != nil {
			return err
		}
		if t.tx.full() {
			if err := t.commit(ctx); err != nil {
				return err
			}
		}
	}
}
