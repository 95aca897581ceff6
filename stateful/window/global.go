package window

import "fmt"

// GlobalWindows are made by [Global].
type GlobalWindows struct{}

var _ Windows = GlobalWindows{}

// Global returns the one window of all events of a key. It has no end, so that no watermark closes it
// but that of the end of all input: it gives results by a trigger.
func Global() GlobalWindows { return GlobalWindows{} }

// Validate implements [Windows].
func (GlobalWindows) Validate() error { return nil }

// String implements [Windows].
func (GlobalWindows) String() string { return "global" }

// Of returns the window of every time: all of them.
func (GlobalWindows) Of(int64) Span { return Span{Start: Never, End: Forever} }

// CountWindows are made by [Count].
type CountWindows struct{ n int }

var _ Windows = CountWindows{}

// Count returns windows of n events of a key each, one after the other, in the order in which the
// events come and whatever their times are. n is at least 1; what is not is reported by Validate.
func Count(n int) CountWindows { return CountWindows{n: n} }

// Validate implements [Windows].
func (w CountWindows) Validate() error {
	if w.n < 1 {
		return fmt.Errorf("the count of events in a window is %d: it must be at least 1", w.n)
	}
	return nil
}

// String implements [Windows].
func (w CountWindows) String() string { return fmt.Sprintf("count %d", w.n) }

// N returns how many events a window has.
func (w CountWindows) N() int { return w.n }

// Of returns the window of an event by its number among those of its key, from 0. The span is
// of such numbers, not of times.
func (w CountWindows) Of(number int64) Span {
	start := number - floorMod(number, int64(w.n))
	return Span{Start: start, End: start + int64(w.n)}
}
