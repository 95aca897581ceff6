package window

import (
	"errors"
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

// Windows is a way to cut event time into windows. The only one is made by [Tumbling].
// Handlers tell the ways apart by type.
type Windows interface {
	// Validate returns all faults at once, joined, each with its remedy.
	Validate() error
	// String describes the windows. Two that describe themselves alike are alike; it is
	// stored beside state, so that state of other windows is not taken for theirs.
	String() string
}

// TumblingWindows are made by [Tumbling].
type TumblingWindows struct{ size, offset time.Duration }

var _ Windows = TumblingWindows{}

// Tumbling returns windows of one size, each beginning where the one before ends.
// One of them begins at 1970-01-01T00:00:00Z, plus the offset. The size is a
// positive number of whole milliseconds; one that is not is reported by Validate.
func Tumbling(size time.Duration) TumblingWindows { return TumblingWindows{size: size} }

// Offset returns the same windows moved by d, a whole number of milliseconds
// of either sign. Windows moved by their size are where they were. It replaces an
// offset given before.
func (w TumblingWindows) Offset(d time.Duration) TumblingWindows {
	w.offset = d
	return w
}

// Validate implements [Windows].
func (w TumblingWindows) Validate() error {
	var errs []error
	if w.size <= 0 {
		errs = append(errs, fmt.Errorf("the window size is %v: it must be at least 1ms", w.size))
	} else if w.size%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("the window size %v is not a whole number of milliseconds: event times are, so round it", w.size))
	}
	if w.offset%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("the window offset %v is not a whole number of milliseconds: event times are, so round it", w.offset))
	}
	return errors.Join(errs...)
}

// String implements [Windows].
func (w TumblingWindows) String() string {
	if w.size <= 0 {
		return fmt.Sprintf("tumbling %v offset %v", w.size, w.offset)
	}
	return fmt.Sprintf("tumbling %v offset %v", w.size, time.Duration(floorMod(int64(w.offset), int64(w.size))))
}

// Of returns the one window that ts, in milliseconds since 1970 UTC, lies in. Times before
// 1970 are no different from others. The windows must be valid, and ts so far from the ends of int64
// that the window has both its own.
func (w TumblingWindows) Of(ts int64) Span {
	size := w.size.Milliseconds()
	start := ts - floorMod(ts-w.offset.Milliseconds()%size, size)
	return Span{Start: start, End: start + size}
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
