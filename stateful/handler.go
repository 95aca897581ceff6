package stateful

import (
	"context"
	"time"
)

// Handler processes records in transactions. The typed handlers of package
// handlers satisfy it; most users write those.
//
// One Handler value serves all its tasks at once. A handler that keeps decoded
// state implements [Instancer], so that each task has its own.
type Handler interface {
	// HandlerName is the identity of the state: never change it once deployed. It
	// matches [a-z0-9._-]{1,128}.
	HandlerName() string
	// Inputs are the topics the handler reads.
	Inputs() []string
	// Process handles one record. Whatever it does through tx is undone when it
	// returns an error. The record is the source's: see [Record].
	Process(ctx context.Context, tx *Tx, rec *Record) error
}

// Instancer is implemented by handlers that keep something per task. The
// instance is used by one goroutine at a time; it is dropped when the task is
// closed or opened again, and everything it needs is then read from the store.
type Instancer interface {
	Instance(ctx context.Context, t *Task) (Handler, error)
}

// Outputter is implemented by handlers that emit; every topic they emit to is
// named, so that an output without a sink is refused at AddTo.
type Outputter interface{ Outputs() []string }

// Validator is implemented by handlers that can be wrong. Validate returns all
// faults at once, joined, each with its remedy.
type Validator interface{ Validate() error }

// OutOfOrderness is implemented by handlers whose watermark stays behind the
// highest event time seen. The default is 0.
// (The method has another name than the field MaxDelay of a typed handler, for
// Go lets no type have both.)
type OutOfOrderness interface{ WatermarkDelay() time.Duration }

// Flusher is implemented by instances that can finish what they hold open when
// their inputs fall silent, see [Pace].
type Flusher interface {
	// FlushTo returns the watermark that all that is open waits for (of a window: its last
	// millisecond plus its allowed lateness), window.Never when nothing is open.
	// What fires on the way there sees [Tx.Flushing].
	FlushTo() int64
}

// KeyFollower is implemented by handlers that may have been given a promise
// about their keys.
type KeyFollower interface {
	// KeysFollowSource reports whether the user promised that the source's
	// partitions follow the handler's keys, so that they need not be checked (O4).
	KeysFollowSource() bool
	// HasKey reports whether the handler keeps state by key at all.
	HasKey() bool
}

// Firing is something that becomes due when the watermark passes Time: a
// window that closes, state that is cleaned up.
type Firing struct {
	Time int64 // milliseconds since 1970 UTC; due when Time <= watermark
	Kind uint8 // told apart at one time and key (T7)
	Key  string
	Ref  any // the instance's own
}

// Firer is implemented by instances with work due at watermarks. After every
// record the processor compares the watermark with Due, and when it has passed,
// fires one by one, in order of (time, key, kind), within as many commits as
// the limits ask for (T3).
type Firer interface {
	// Due returns the time of the earliest firing, math.MaxInt64 when there is
	// none. It is called for every record and must be cheap.
	Due() int64
	// NextFiring returns the first firing with Time <= wm that comes after
	// the one fired last, ok false when there is none. after is the last one fired
	// in this advance (its Time math.MinInt64 at the start); what was due at or before
	// the watermark from was fired earlier.
	NextFiring(ctx context.Context, tx *Tx, from, wm int64, after Firing) (f Firing, ok bool, err error)
	// Fire does it. Like Process it is undone and tried again when it fails.
	Fire(ctx context.Context, tx *Tx, f Firing) error
	// Skip takes a firing that failed for good out of the way; it was
	// dead-lettered with its key and time (T9).
	Skip(ctx context.Context, tx *Tx, f Firing) error
}

// TimerHandler is implemented by handlers that set timers.
type TimerHandler interface {
	OnTimer(ctx context.Context, tx *Tx, t Timer) error
}

// TimerSkipper is implemented by a [TimerHandler] that remembers which timers it has set.
type TimerSkipper interface {
	// SkipTimer hears of a timer that failed for good: it was dead-lettered with its key and time (T9), and is set no longer.
	SkipTimer(ctx context.Context, tx *Tx, t Timer) error
}

// TimerKind tells which clock a timer follows.
type TimerKind uint8

// The kinds of timer.
const (
	// EventTime timers fire when the watermark reaches their time.
	EventTime TimerKind = iota + 1
	// ProcessingTime timers fire when the processor's clock reaches their time;
	// those that came due while it was down fire once after it is back.
	ProcessingTime
)

// Timer is a member of a set: setting the same one twice fires once.
type Timer struct {
	Kind      TimerKind
	Time      int64  // milliseconds since 1970 UTC
	Namespace string // of the handler's choice
	Key       string
}
