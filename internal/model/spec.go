package model

import (
	"fmt"
	"math"
	"strings"
)

// Kind is a way to cut time into windows.
type Kind int

// The kinds.
const (
	Tumbling Kind = iota
	Sliding
	Session
	Global
	Count
)

func (k Kind) String() string {
	return [...]string{"tumbling", "sliding", "session", "global", "count"}[k]
}

// Trigger says when a window gives results.
type Trigger int

// The triggers.
const (
	AtEnd     Trigger = iota // once at the end, then for every late event
	EveryN                   // for every N events, and what is left at the end
	EveryTime                // a time of the clock after the first event that no result has
	FinalOnly                // once, when nothing more is taken
	Own                      // one that does all a user's may; see own in trigger.go
)

// Mode says how the results of a window relate.
type Mode int

// The modes.
const (
	Accumulating Mode = iota
	Discarding
	Retracting
)

func (m Mode) String() string { return [...]string{"accumulating", "discarding", "retracting"}[m] }

// Spec is what windows are asked for. Times are in milliseconds.
type Spec struct {
	Kind     Kind
	Size     int64 // of tumbling and sliding windows
	Slide    int64 // of sliding ones
	Offset   int64
	Gap      int64 // of sessions
	N        int64 // events in a count window
	MaxDelay int64
	Lateness int64
	Trigger  Trigger
	Every    int64 // events of EveryN, milliseconds of EveryTime and Own
	Mode     Mode
	Sliced   bool // values of sliding windows list the events of one slice behind those of the one before it

	Inputs                int   // 0 is 1
	IdleAfter, FlushAfter int64 // 0: never
}

// String says it in words.
func (s Spec) String() string {
	var b strings.Builder
	switch s.Kind {
	case Tumbling:
		fmt.Fprintf(&b, "tumbling %d", s.Size)
	case Sliding:
		fmt.Fprintf(&b, "sliding %d every %d", s.Size, s.Slide)
	case Session:
		fmt.Fprintf(&b, "session gap %d", s.Gap)
	case Global:
		b.WriteString("global")
	case Count:
		fmt.Fprintf(&b, "count %d", s.N)
	}
	if s.Offset != 0 && (s.Kind == Tumbling || s.Kind == Sliding) {
		fmt.Fprintf(&b, " offset %d", s.Offset)
	}
	fmt.Fprintf(&b, ", delay %d, lateness %d, ", s.MaxDelay, s.Lateness)
	switch s.Trigger {
	case AtEnd:
		b.WriteString("at the end")
	case EveryN:
		fmt.Fprintf(&b, "every %d events", s.Every)
	case EveryTime:
		fmt.Fprintf(&b, "every %d ms of the clock", s.Every)
	case FinalOnly:
		b.WriteString("final only")
	case Own:
		fmt.Fprintf(&b, "own trigger %d", s.Every)
	}
	b.WriteString(", " + s.Mode.String())
	if s.Inputs > 1 {
		fmt.Fprintf(&b, ", %d inputs", s.Inputs)
		if s.IdleAfter > 0 {
			fmt.Fprintf(&b, " idle after %d", s.IdleAfter)
		}
	}
	if s.FlushAfter > 0 {
		fmt.Fprintf(&b, ", flush after %d", s.FlushAfter)
	}
	return b.String()
}

// timed reports whether windows have an end in event time.
func (s Spec) timed() bool { return s.Kind != Global && s.Kind != Count }

// Event is one event.
type Event struct {
	Key   string
	Time  int64
	N     int  // its name, in the values of the windows it is in
	Input int  // of the task
	Bad   bool // it cannot be folded
	Not   bool // it is not asked for
}

// Output is a result, or a late event.
type Output struct {
	Key        string
	Start, End int64  // of a late event, the last window that it missed
	Value      string // the names of the events in order, of a late event its own
	Pane       int
	Back       bool // it takes back the result of that window and pane
	Flushed    bool

	Late      bool
	Watermark int64 // of a late event, when it came
	Silence   bool  // a late event is one because of a flush
}

func (o Output) String() string {
	if o.Late {
		s := fmt.Sprintf("late %s %s: missed [%d,%d), watermark %d", o.Key, o.Value, o.Start, o.End, o.Watermark)
		if o.Silence {
			s += ", flushed"
		}
		return s
	}
	s := fmt.Sprintf("%s [%d,%d) %q pane %d", o.Key, o.Start, o.End, o.Value, o.Pane)
	if o.Back {
		s = "take back " + s
	}
	if o.Flushed {
		s += " flushed"
	}
	return s
}

// The ends of time.
const (
	never   = math.MinInt64
	forever = math.MaxInt64
)
