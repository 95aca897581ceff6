package window

import (
	"errors"
	"fmt"
	"time"
)

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
	return errors.Join(wholePositive("window size", w.size), whole("window offset", w.offset))
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

// Sliding returns the same windows as sliding ones, which slide by their size.
func (w TumblingWindows) Sliding() SlidingWindows {
	return SlidingWindows{size: w.size, slide: w.size, offset: w.offset}
}
