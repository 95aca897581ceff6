package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Keyed calls a function for each event E, which has a state S of the event's key, timers, and
// outputs. It is for what a [Window] cannot say. Name, From, Key and OnEvent are required.
//
// A Keyed is a value: it may be copied and used by many tasks at once. Its functions must be
// pure but for what they do through their [Context]: all of that is undone when they return an error,
// and they are called again. They are called for several tasks at once.
type Keyed[E, S any] struct {
	// Name is the identity of the state: never change it once deployed. It matches [a-z0-9._-]{1,128}.
	Name   string
	From   string   // topic of the events
	To     string   // topic that [Context.Emit] emits to
	SideTo []string // further topics, for [Context.EmitTo]

	// Key returns the key of an event. It is kept as a copy. At most Limits.KeyBytes.
	Key func(E) string
	// Time returns when an event happened, to the millisecond, after the year 1 and before the
	// year 10000. Defaults to the record's own time.
	Time func(E) time.Time
	// MaxDelay is how far, in whole milliseconds, the watermark stays behind the latest event.
	// Default 0: the input is in order. Events that are later still come to OnEvent like others.
	MaxDelay time.Duration

	// FlushAfter is how long no event may come before the event-time timers that are set fire as if the
	// watermark had come to the last of them; c.Tx.Flushing() is true while they do. Timers that they set
	// fire by the next silence, after an event. What counts as silence says [stateful.Pace]. Default 0: that of the
	// processor's configuration, which is off; negative: off.
	FlushAfter time.Duration

	// OnEvent handles an event.
	OnEvent func(ctx context.Context, c *Context[S], event E) error
	// OnTimer handles a timer of c.Key when its time has come. It is required by who sets timers.
	OnTimer func(ctx context.Context, c *Context[S], t stateful.Timer) error

	// TTL is how long a key's S lives after it was last put; see [stateful.State]. Default 0: for ever.
	TTL time.Duration
	// Clock is what TTL is measured by. Defaults to [stateful.EventTime]. Never change it once deployed.
	Clock stateful.TimerKind
	// States are the states that the functions use beside S, so that their faults are found by AddTo.
	// The name "keyed" is taken, by S.
	States []stateful.State

	// In decodes records. Defaults to [stateful.DefaultCodec], which is JSON for most types. With a
	// codec that does not copy, OnEvent must copy what it keeps.
	In stateful.Codec
	// Out encodes what is emitted. Defaults to [stateful.DefaultCodec].
	Out stateful.Codec
	// State configures how S is stored.
	State stateful.StateCodecConfig[S]

	// PartitionedBySource promises that the source's partitions follow Key, where the
	// processor cannot check it (O4).
	PartitionedBySource bool
}

// HandlerName implements [stateful.Handler].
func (k Keyed[E, S]) HandlerName() string { return k.Name }

// Inputs implements [stateful.Handler].
func (k Keyed[E, S]) Inputs() []string { return []string{k.From} }

// Outputs implements [stateful.Outputter]: To and SideTo.
func (k Keyed[E, S]) Outputs() []string {
	if k.To == "" {
		return k.SideTo
	}
	return append([]string{k.To}, k.SideTo...)
}

// WatermarkDelay implements [stateful.OutOfOrderness]: it is MaxDelay.
func (k Keyed[E, S]) WatermarkDelay() time.Duration { return k.MaxDelay }

// HasKey implements [stateful.KeyFollower].
func (k Keyed[E, S]) HasKey() bool { return true }

// KeysFollowSource implements [stateful.KeyFollower]: it is PartitionedBySource.
func (k Keyed[E, S]) KeysFollowSource() bool { return k.PartitionedBySource }

// Process implements [stateful.Handler]. Tasks are run by what Instance returns.
func (k Keyed[E, S]) Process(context.Context, *stateful.Tx, *stateful.Record) error {
	return stateful.TaskFault(errors.New("handlers: a Keyed runs only as the Instance of a task"))
}

// Validate implements [stateful.Validator]. Name and From are checked by the processor, with every
// other handler's.
func (k Keyed[E, S]) Validate() error {
	var errs []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(k.Key == nil, "Key is required: return what the state is kept by, or one constant for all")
	fault(k.OnEvent == nil, "OnEvent is required: what to do with an event")
	fault(k.MaxDelay%time.Millisecond != 0, "MaxDelay %v is not a whole number of milliseconds: event times are, so round it", k.MaxDelay)
	fault(k.From != "" && slices.Contains(k.Outputs(), k.From), "it emits to its own input %q: what it emits would come back for ever", k.From)
	fault(k.To != "" && slices.Contains(k.SideTo, k.To), "SideTo names %q, which is To", k.To)
	own := k.value()
	if err := own.Validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, stateful.CheckStates(k.States...))
	for _, s := range k.States {
		fault(s != nil && s.StateName() == own.Name, "state %q has the name of S: name it otherwise", own.Name)
	}
	return errors.Join(errs...)
}

// value declares S.
func (k Keyed[E, S]) value() *stateful.Value[S] {
	return &stateful.Value[S]{Name: "keyed", TTL: k.TTL, Clock: k.Clock, State: k.State}
}
