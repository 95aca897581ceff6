package handlers

import (
	"errors"
	"fmt"
	"time"
)

// Trigger says when a window of a key gives results. Window.Trigger nil is the default: once when the
// watermark reaches the window's end, then once for every late event that is still taken. The
// ready-made ones are [EveryUpdate], [EveryN], [Every] and [FinalOnly].
//
// A Trigger of your own is pure: what it decides follows from the [Moment] and from the
// [TriggerState] it is given and returns, for it is asked again when a record is retried and after
// a restart, and serves all tasks at once. It may have a Validate method, which is asked at AddTo.
type Trigger interface {
	// OnElement is asked for every event, after it was folded into the window.
	OnElement(m Moment, s TriggerState) (Decision, TriggerState)
	// OnEventTime is asked when the watermark reaches the window's last millisecond (m.Ended), when
	// the allowed lateness has passed (m.Closing), which is the same moment without any, and when
	// it reaches s.EventAt, which is cleared.
	OnEventTime(m Moment, s TriggerState) (Decision, TriggerState)
	// OnProcessingTime is asked when the processor's clock has reached s.ClockAt, which is cleared. The
	// clock is looked at every Config.TickEvery.
	OnProcessingTime(m Moment, s TriggerState) (Decision, TriggerState)
	// String is the trigger's identity, with all that its decisions depend on. It is stored beside
	// the state. State of another trigger goes on: what that one kept of a window is given to this
	// one, and no result is given twice.
	String() string
}

// Moment is what a [Trigger] is told about the window of one key.
type Moment struct {
	// Window is zero for the windows of window.Global and window.Count, which have no end
	// in time.
	Window Bounds
	// Time is the event's time in OnElement; in the others, the time that was reached.
	Time time.Time
	// Watermark is the zero time before there is one, and after the end of all input.
	Watermark time.Time
	// Now is the processor's clock, sampled once per transaction. What depends on it is not
	// repeated when the input is processed again.
	Now time.Time
	// Ended says that the watermark has reached the window's last millisecond, or a window of
	// window.Count has all its events.
	Ended bool
	// Closing says that the window is forgotten after this.
	Closing bool
	// Changed says that the window holds events that none of its results has.
	Changed bool
}

// TriggerState is what a [Trigger] keeps of one window of one key. It is stored with the window; the zero
// value is that of a new window. When sessions become one their N are added up, and of
// the times the earlier counts.
type TriggerState struct {
	N       uint64    // the trigger's own
	EventAt time.Time // when OnEventTime is asked; the zero time: only at the window's end
	ClockAt time.Time // when OnProcessingTime is asked; the zero time: never
}

// Decision is the answer of a [Trigger].
type Decision uint8

// The decisions. A window that holds nothing gives no result, whatever its trigger says.
const (
	// Continue does nothing.
	Continue Decision = iota
	// Fire gives a result.
	Fire
	// FireAndPurge gives a result and forgets the value: the next result is of what comes
	// then, and takes nothing back.
	FireAndPurge
	// Purge forgets the value. What was emitted stands.
	Purge
)

// EmitMode says how the results of one window and key relate to one another.
type EmitMode uint8

// The modes.
const (
	// Accumulating results are each of all events so far: a later one replaces those before it.
	Accumulating EmitMode = iota
	// Discarding results are each of the events since the one before: they add up.
	Discarding
	// Retracting results are accumulating, and before each but the first comes the one it replaces
	// once more, with Retract set, so that a reader that adds up can take it back (T8).
	Retracting
)

func (m EmitMode) String() string {
	switch m {
	case Accumulating:
		return "accumulating"
	case Discarding:
		return "discarding"
	case Retracting:
		return "retracting"
	}
	return fmt.Sprintf("EmitMode(%d)", uint8(m))
}

// EveryUpdate gives a result for every event.
func EveryUpdate() Trigger { return everyN(1) }

// EveryN gives an early result for every n events of a window and key. When the window ends, what
// has come since the last of them makes one more; then every late event makes one, as by default.
//
// With n of 3, a window of 7 events gives results of 3, 6 and, at its end, 7.
func EveryN(n int) Trigger { return everyN(n) }

// Every gives an early result d of processing time after the first event that no result has: at
// most one in d, and none while nothing comes. When the window ends, what has come since the last of
// them makes one more; then every late event makes one, as by default. Times of the clock are rounded up to milliseconds.
// A result that came due while the process was down is given once after it is back.
//
// With d of 10 s, events of 12:00:03, 12:00:12 and 12:00:20 by the clock give results at 12:00:13, of
// the first two, and at 12:00:30.
func Every(d time.Duration) Trigger { return every(d) }

// FinalOnly gives one result, when no more events are taken: when the watermark has reached the window's
// last millisecond and the allowed lateness has passed.
func FinalOnly() Trigger { return finalOnly{} }

// atEnd is the default.
type atEnd struct{}

func (atEnd) String() string { return "at the end" }

func (atEnd) OnElement(m Moment, s TriggerState) (Decision, TriggerState) {
	if m.Ended {
		return Fire, s
	}
	return Continue, s
}

func (atEnd) OnEventTime(m Moment, s TriggerState) (Decision, TriggerState) {
	return whenChanged(m), s
}

func (atEnd) OnProcessingTime(_ Moment, s TriggerState) (Decision, TriggerState) { return Continue, s }

func whenChanged(m Moment) Decision {
	if m.Changed {
		return Fire
	}
	return Continue
}

type everyN int

func (n everyN) String() string {
	if n == 1 {
		return "every update"
	}
	return fmt.Sprintf("every %d", int(n))
}

// Validate implements [stateful.Validator].
func (n everyN) Validate() error {
	if n < 1 {
		return fmt.Errorf("EveryN has %d: it must be at least 1", int(n))
	}
	return nil
}

func (n everyN) OnElement(m Moment, s TriggerState) (Decision, TriggerState) {
	if s.N++; m.Ended || s.N >= uint64(n) {
		return Fire, TriggerState{}
	}
	return Continue, s
}

func (everyN) OnEventTime(m Moment, _ TriggerState) (Decision, TriggerState) {
	return whenChanged(m), TriggerState{}
}

func (everyN) OnProcessingTime(_ Moment, s TriggerState) (Decision, TriggerState) { return Continue, s }

type every time.Duration

func (d every) String() string { return fmt.Sprintf("every %v", time.Duration(d)) }

// Validate implements [stateful.Validator].
func (d every) Validate() error {
	if d <= 0 {
		return errors.New("Every has a time that is not positive: take EveryUpdate for a result with every event")
	}
	return nil
}

func (d every) OnElement(m Moment, s TriggerState) (Decision, TriggerState) {
	if m.Ended {
		return Fire, TriggerState{}
	}
	if s.ClockAt.IsZero() {
		s.ClockAt = m.Now.Add(time.Duration(d))
	}
	return Continue, s
}

func (every) OnEventTime(m Moment, _ TriggerState) (Decision, TriggerState) {
	return whenChanged(m), TriggerState{}
}

func (every) OnProcessingTime(m Moment, _ TriggerState) (Decision, TriggerState) {
	return whenChanged(m), TriggerState{}
}

type finalOnly struct{}

func (finalOnly) String() string { return "final only" }

func (finalOnly) OnElement(_ Moment, s TriggerState) (Decision, TriggerState) { return Continue, s }

func (finalOnly) OnEventTime(m Moment, s TriggerState) (Decision, TriggerState) {
	if m.Closing {
		return whenChanged(m), s
	}
	return Continue, s
}

func (finalOnly) OnProcessingTime(_ Moment, s TriggerState) (Decision, TriggerState) {
	return Continue, s
}
