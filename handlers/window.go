package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Window folds the events E of each key into one value A per window and emits it, by default when
// the watermark reaches the window's end. Name, From, To, Key, Windows and either Fold or Aggregate
// are required.
//
// A Window is a value: it may be copied and used by many tasks at once. Its
// functions must be pure, for they are called again when a record is retried, and for several
// tasks at once.
//
// An event is late when its window's last millisecond plus AllowedLateness is
// at or below the watermark as it was before the event; where it has several windows, when all of
// them are. Others are folded into those of its windows that are not late. By default a window
// fires once when the watermark reaches its last millisecond, then again for every event
// that still comes until AllowedLateness has passed, and is then forgotten.
//
// Results are published to To with the key as the message's key and the window's
// last millisecond as its time; see [Result] for the JSON.
//
// An event of window.Session joins the sessions of its key that its own window meets: their values
// are merged in order of time, then the event is folded, and lateness is that of what comes
// out. A session that grows, or is joined, is a new window, with panes from 0: results of the windows it
// was made of stand, unless Emit is [Retracting], which takes the last one of each back
// at once. No two results have one id: a session only grows, so that a window it has outgrown
// does not come back.
//
// Of window.Sliding, where Merge is set and Trigger and Emit are left out, or Trigger is [FinalOnly], a value is kept
// for each slice of a key and not for each window: an event is folded once, and a window is merged from its slices
// when it fires, a few of which make one value for good. Of 1 h every 1 s an event costs one fold where it
// would cost 3,600. In such a window events count slice after slice, and as they came within one; and what Merge
// refuses is the firing's fault. Other triggers and modes keep something of each window, and so a value for each; so does
// state that was stored before Merge was set.
//
// Windows of window.Global and window.Count have no end in time. No event of theirs is late,
// except after the end of all input, which closes them; something is stored of every key that ever
// came. The Window of their results goes from the first to the last event in it.
type Window[E, A any] struct {
	// Name is the identity of the state and part of every result's id: never change
	// it once deployed. It matches [a-z0-9._-]{1,128}.
	Name string
	From string // topic of the events
	To   string // topic of the results
	// LateTo is the topic of late events: the record as it came, with the headers
	// [LateReason], [LateWindow] and [LateWatermark] before its own. LateWindow is the window that was
	// missed, the last of them when they overlap. Without LateTo they are dropped. Stats counts
	// them either way.
	LateTo string

	// Key returns the key of an event. It is kept as a copy. At most Limits.KeyBytes.
	Key func(E) string
	// Time returns when an event happened, to the millisecond, after the year 1 and before the
	// year 10000. Defaults to the record's own time.
	Time func(E) time.Time
	// Where says which events are taken. The others go into no window and to no output, and are
	// counted as Filtered; they move the watermark like all events. Default nil: all are taken.
	Where func(E) bool
	// Windows says how time is cut, for example window.Tumbling(time.Minute).
	Windows window.Windows
	// MaxDelay is how far, in whole milliseconds, events may be behind the latest one
	// without being late. Default 0: the input is in order.
	MaxDelay time.Duration
	// AllowedLateness is how long, in event time and whole milliseconds, a window that
	// has fired still takes events. Default 0.
	AllowedLateness time.Duration
	// Trigger says when windows give results. Default: once at the end, then once for every late
	// event; windows of window.Global have no end but that of all input.
	Trigger Trigger
	// Emit says how the results of one window and key relate. Default [Accumulating].
	Emit EmitMode

	// FlushAfter is how long no event may come before the windows that are open are closed by
	// the clock, as if the watermark had come to their ends; their results are marked Flushed, and
	// events for them are late from then on. What counts as silence says [stateful.Pace].
	// Default 0: that of the processor's configuration, which is off; negative: off.
	FlushAfter time.Duration

	// Fold, Init and Merge are those of [Aggregate], for one written in place. Sessions need Merge, and
	// sliding windows are much cheaper with it.
	Fold  func(value A, event E) (A, error)
	Init  func() A
	Merge func(a, b A) (A, error)
	// Aggregate sets all three from a ready-made one.
	Aggregate Aggregate[E, A]

	// In decodes records. Defaults to [stateful.DefaultCodec], which is JSON for most types.
	// With a codec that does not copy, Fold must copy what it keeps.
	In stateful.Codec
	// Out encodes results, or what Encode returns. Defaults to [stateful.DefaultCodec].
	Out stateful.Codec
	// Encode replaces the shape of results: what it returns is encoded in their stead.
	Encode func(Result[A]) (any, error)
	// State configures how values are stored.
	State stateful.StateCodecConfig[A]

	// PartitionedBySource promises that the source's partitions follow Key, where the
	// processor cannot check it (O4).
	PartitionedBySource bool
	// Stats, when set, counts what the handler does.
	Stats *Stats
}

// The headers of a late record.
const (
	LateReason    = "pondage_late_reason"    // [LateByWatermark], [LateByFlush] or [LateByEnd]
	LateWindow    = "pondage_late_window"    // start/end of the window that was missed, RFC 3339
	LateWatermark = "pondage_late_watermark" // as it was, RFC 3339
)

// Why a record is late.
const (
	// LateByWatermark: later events have brought the watermark to the window's end and over its allowed lateness.
	LateByWatermark = "the window and its allowed lateness have passed"
	// LateByFlush: they have not; the window was closed after silence, see [Window.FlushAfter].
	LateByFlush = "the window was closed after silence"
	// LateByEnd: the end of all input has closed every window.
	LateByEnd = "the input had ended"
)

// HandlerName implements [stateful.Handler].
func (w Window[E, A]) HandlerName() string { return w.Name }

// Inputs implements [stateful.Handler].
func (w Window[E, A]) Inputs() []string { return []string{w.From} }

// Outputs implements [stateful.Outputter].
func (w Window[E, A]) Outputs() []string {
	if w.LateTo == "" {
		return []string{w.To}
	}
	return []string{w.To, w.LateTo}
}

// WatermarkDelay implements [stateful.OutOfOrderness]: it is MaxDelay.
func (w Window[E, A]) WatermarkDelay() time.Duration { return w.MaxDelay }

// HasKey implements [stateful.KeyFollower].
func (w Window[E, A]) HasKey() bool { return true }

// KeysFollowSource implements [stateful.KeyFollower]: it is PartitionedBySource.
func (w Window[E, A]) KeysFollowSource() bool { return w.PartitionedBySource }

// Process implements [stateful.Handler]. Tasks are run by what Instance returns.
func (w Window[E, A]) Process(context.Context, *stateful.Tx, *stateful.Record) error {
	return stateful.TaskFault(errors.New("handlers: a Window runs only as the Instance of a task"))
}

// Validate implements [stateful.Validator]. Name, From and To are checked by the processor, with
// every other handler's.
func (w Window[E, A]) Validate() error {
	var errs []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(w.Key == nil, "Key is required: return what events are grouped by, or one constant for all")
	if w.Windows == nil {
		fault(true, "Windows is required: window.Tumbling(time.Minute), for example")
	} else if err := w.Windows.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Windows: %w", err))
	} else {
		errs = append(errs, w.checkKind())
	}
	if v, ok := w.Trigger.(stateful.Validator); ok {
		if err := v.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("Trigger: %w", err))
		}
	}
	fault(w.Emit > Retracting, "Emit is %v: take Accumulating, Discarding or Retracting", w.Emit)
	fault(w.MaxDelay%time.Millisecond != 0, "MaxDelay %v is not a whole number of milliseconds: event times are, so round it", w.MaxDelay)
	fault(w.AllowedLateness < 0, "AllowedLateness is negative: leave it 0 to take no late events")
	fault(w.AllowedLateness%time.Millisecond != 0, "AllowedLateness %v is not a whole number of milliseconds: event times are, so round it", w.AllowedLateness)
	errs = append(errs, w.checkAggregate())
	if w.From != "" {
		fault(w.To == w.From, "To is its own input %q: results need a topic of their own", w.From)
		fault(w.LateTo == w.From, "LateTo is its own input %q: late events would come back for ever", w.From)
	}
	fault(w.LateTo != "" && w.LateTo == w.To, "LateTo is %q like To: late events need a topic of their own", w.To)
	if _, err := stateful.NewStateCodec(w.State); err != nil {
		errs = append(errs, fmt.Errorf("State: %w", err))
	}
	return errors.Join(errs...)
}

// checkKind checks what depends on the kind of windows.
func (w Window[E, A]) checkKind() error {
	if _, ok := w.Windows.(window.SessionWindows); !ok {
		if _, err := cutOf(w.Windows); err != nil {
			return fmt.Errorf("Windows is a %T: handlers.Window takes those made by package window", w.Windows)
		}
		return nil
	}
	if w.aggregate().Merge == nil {
		return errors.New("Merge is required with sessions: an event may join two of them, so say what their values make together")
	}
	return nil
}

func (w Window[E, A]) checkAggregate() error {
	a := &w.Aggregate
	own, given := w.Fold != nil || w.Init != nil || w.Merge != nil, a.Fold != nil || a.Init != nil || a.Merge != nil
	switch {
	case own && given:
		return errors.New("Aggregate is set beside Fold, Init or Merge: set one or the other")
	case given && a.fault != nil:
		return fmt.Errorf("Aggregate: %w", a.fault)
	case given && a.Fold == nil:
		return errors.New("Aggregate has no Fold: take handlers.Count, for example")
	case !given && w.Fold == nil:
		return errors.New("Fold is required: how an event changes the value, or set Aggregate to a ready-made one")
	}
	return nil
}

// trigger returns the one that is set.
func (w Window[E, A]) trigger() Trigger {
	if w.Trigger != nil {
		return w.Trigger
	}
	return atEnd{}
}

// plain reports whether nothing needs to be kept of a window beside its value.
func (w Window[E, A]) plain() bool {
	switch w.Windows.(type) {
	case window.GlobalWindows, window.CountWindows:
		return false
	}
	return w.Trigger == nil && w.Emit == Accumulating || w.Trigger == FinalOnly()
}

// sliced reports whether windows are merged from slices: nothing needs to be kept of each of them, and an event is in several.
func (w Window[E, A]) sliced() bool {
	s, ok := w.Windows.(window.SlidingWindows)
	return ok && s.PerEvent() > 1 && w.aggregate().Merge != nil && w.plain()
}

// identities describe what stored state may be of, first what it is of when it is new. That with
// a value for each window stays so when it could be slices by now.
func (w Window[E, A]) identities() []identity {
	of := identity{windows: w.Windows.String(), trigger: w.trigger().String() + ", " + w.Emit.String()}
	if !w.sliced() {
		return []identity{of}
	}
	return []identity{{windows: of.windows + inSlices, trigger: of.trigger}, of}
}

// aggregate returns the one that is set.
func (w Window[E, A]) aggregate() Aggregate[E, A] {
	if w.Aggregate.Fold != nil {
		return w.Aggregate
	}
	return Aggregate[E, A]{Init: w.Init, Fold: w.Fold, Merge: w.Merge}
}
