// Package window is pure time: which windows an event belongs to, and how far a
// watermark has come. It has no clock, no state and no input or output; all
// times are integer milliseconds of event time since 1970 UTC and all
// intervals are half-open.
//
// An event at 12:00:07 lies in
//
//	Tumbling(10s)        12:00:00-12:00:10
//	Sliding(10s, 5s)     12:00:00-12:00:10 and 12:00:05-12:00:15
//	Session(10s)         12:00:07-12:00:17, one window with every other it meets
//	Global()             the one window there is of its key
//	Count(100)           the window of its key that has not had 100 events yet
//
// In numbers, with floor division, so that times before 1970 are no exception:
//
//	Tumbling(size)        start = ts - (ts - offset) mod size
//	Sliding(size, slide)  newest start = ts - (ts - offset) mod slide, and back by slide while start + size > ts
//	Session(gap)          [ts, ts + gap), joined with all that it meets or touches
//	Count(n)              start = number - number mod n, of the event's number in its key, from 0
//
// A window that ends at 12:00:10 has 12:00:09.999 as its last millisecond, and closes when the
// watermark reaches that.
package window

import (
	"fmt"
	"time"
)

// Span is one window: the event times from Start up to, but not including, End,
// in milliseconds since 1970 UTC.
type Span struct{ Start, End int64 }

// Last returns the last millisecond of the window. It is the time of the window's
// result, and the watermark that closes it.
func (s Span) Last() int64 { return s.End - 1 }

// Contains reports whether the event time ts lies in the window.
func (s Span) Contains(ts int64) bool { return s.Start <= ts && ts < s.End }

// Touches reports whether two windows share a time, or one begins where the other ends.
// Sessions that touch are one.
func (s Span) Touches(o Span) bool { return s.Start <= o.End && o.Start <= s.End }

// Cover returns the smallest window that both lie in.
func (s Span) Cover(o Span) Span {
	return Span{Start: min(s.Start, o.Start), End: max(s.End, o.End)}
}

// Windows is a way to cut the events of a key into windows: [Tumbling], [Sliding] which is also
// called [Hopping], [Session], [Global] or [Count]. Handlers tell the ways apart by type.
type Windows interface {
	// Validate returns all faults at once, joined, each with its remedy.
	Validate() error
	// String describes the windows. Two that describe themselves alike are alike; it is
	// stored beside state, so that state of other windows is not taken for theirs.
	String() string
}

// wholePositive returns why d is no length of a window.
func wholePositive(what string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("the %s is %v: it must be at least 1ms", what, d)
	}
	return whole(what, d)
}

func whole(what string, d time.Duration) error {
	if d%time.Millisecond != 0 {
		return fmt.Errorf("the %s %v is not a whole number of milliseconds: event times are, so round it", what, d)
	}
	return nil
}

// floorMod is the remainder of a division that rounds down, so it is never negative
// for m > 0; Go's % takes the sign of a.
func floorMod(a, m int64) int64 {
	r := a % m
	if r < 0 {
		r += m
	}
	return r
}
