package window

import (
	"fmt"
	"slices"
	"time"
)

// SessionWindows are made by [Session].
type SessionWindows struct{ gap time.Duration }

var _ Windows = SessionWindows{}

// Session returns windows that last as long as the events of a key do not pause for more than gap.
// Each event opens the window from its time up to gap later, and windows of one key that share a
// time, or touch, become one. So a pause of exactly gap goes on with the session, and one of a millisecond
// more begins another. The gap is a positive number of whole milliseconds; one that is not is
// reported by Validate.
//
// With a gap of 5 s, events of second 0, 8 and 4, in this order, open 0 to 5 and 8 to 13, and
// then join both to 0 to 13.
func Session(gap time.Duration) SessionWindows { return SessionWindows{gap: gap} }

// Validate implements [Windows].
func (w SessionWindows) Validate() error { return wholePositive("gap of sessions", w.gap) }

// String implements [Windows].
func (w SessionWindows) String() string { return fmt.Sprintf("session gap %v", w.gap) }

// Gap returns the gap in milliseconds.
func (w SessionWindows) Gap() int64 { return w.gap.Milliseconds() }

// Of returns the window that an event at ts, in milliseconds since 1970 UTC, opens.
func (w SessionWindows) Of(ts int64) Span { return Span{Start: ts, End: ts + w.Gap()} }

// Join returns what s becomes among the sessions of its key, and which of them are then part of
// it: open[from:to]. The open ones are in order of time and none touches another; putting the one
// returned in the place of those keeps it so.
func Join(open []Span, s Span) (joined Span, from, to int) {
	from, _ = slices.BinarySearchFunc(open, s.Start, func(o Span, start int64) int {
		if o.End < start {
			return -1
		}
		return 1
	})
	for to = from; to < len(open) && open[to].Touches(s); to++ {
		s = s.Cover(open[to])
	}
	return s, from, to
}
