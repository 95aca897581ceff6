package window

import (
	"errors"
	"fmt"
	"iter"
	"time"
)

// SlidingWindows are made by [Sliding] or [Hopping].
type SlidingWindows struct{ size, slide, offset time.Duration }

var _ Windows = SlidingWindows{}

// Sliding returns windows of one size, one of them beginning every slide, so that they overlap: an
// event lies in size / slide of them, or one more where the slide does not divide the size. One of
// them begins at 1970-01-01T00:00:00Z, plus the offset. Both are positive and whole milliseconds, and
// the slide is at most the size; what is not so is reported by Validate.
//
// Sliding(10*time.Second, 3*time.Second) has windows from second 0 to 10, 3 to 13, 6 to 16, 9 to 19.
// An event of second 10 lies in the last three.
func Sliding(size, slide time.Duration) SlidingWindows {
	return SlidingWindows{size: size, slide: slide}
}

// Hopping is another name of [Sliding].
func Hopping(size, slide time.Duration) SlidingWindows { return Sliding(size, slide) }

// Offset returns the same windows moved by d, a whole number of milliseconds of either sign.
// Windows moved by their slide are where they were. It replaces an offset given before.
func (w SlidingWindows) Offset(d time.Duration) SlidingWindows {
	w.offset = d
	return w
}

// Validate implements [Windows].
func (w SlidingWindows) Validate() error {
	errs := []error{wholePositive("window size", w.size), wholePositive("slide", w.slide), whole("window offset", w.offset)}
	if w.size > 0 && w.slide > w.size {
		errs = append(errs, fmt.Errorf("the slide %v is longer than the windows, which are %v: events between two windows would be in none; "+
			"make the slide at most the size", w.slide, w.size))
	}
	return errors.Join(errs...)
}

// String implements [Windows].
func (w SlidingWindows) String() string {
	offset := w.offset
	if w.slide > 0 {
		offset = time.Duration(floorMod(int64(offset), int64(w.slide)))
	}
	return fmt.Sprintf("sliding %v every %v offset %v", w.size, w.slide, offset)
}

// Size returns the length of a window in milliseconds.
func (w SlidingWindows) Size() int64 { return w.size.Milliseconds() }

// Slide returns how far apart windows begin, in milliseconds.
func (w SlidingWindows) Slide() int64 { return w.slide.Milliseconds() }

// PerEvent returns the most windows that one event lies in: size / slide, rounded up.
func (w SlidingWindows) PerEvent() int64 { return (w.Size() + w.Slide() - 1) / w.Slide() }

// phase returns how far ts is behind the last time at which a window began.
func (w SlidingWindows) phase(ts int64) int64 {
	return floorMod(ts-w.offset.Milliseconds()%w.Slide(), w.Slide())
}

// Newest returns the last window that ts, in milliseconds since 1970 UTC, lies in. The windows must
// be valid, and ts so far from the ends of int64 that all its windows have both theirs.
func (w SlidingWindows) Newest(ts int64) Span {
	start := ts - w.phase(ts)
	return Span{Start: start, End: start + w.Size()}
}

// Oldest returns the first window that ts lies in; see Newest.
func (w SlidingWindows) Oldest(ts int64) Span {
	end := ts + w.Slide() - w.phase(ts-w.Size())
	return Span{Start: end - w.Size(), End: end}
}

// Spans returns the windows that ts lies in, oldest first; see Newest. There are at most
// PerEvent of them, and at most one less.
func (w SlidingWindows) Spans(ts int64) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		newest := w.Newest(ts).Start
		for s := w.Oldest(ts); s.Start <= newest; s.Start, s.End = s.Start+w.Slide(), s.End+w.Slide() {
			if !yield(s) {
				return
			}
		}
	}
}

// Slice returns the longest span around ts in which no window begins or ends, so that all its times
// lie in the same windows. Every window is made of whole slices: size / slide of them where the slide
// divides the size, and at most twice that number, rounded up, where it does not.
//
// Windows of 10 s every 3 s begin at second 0, 3, 6, 9 and end at 10, 13, 16, 19, which is 1 s
// after one begins; so the slices are 0 to 1, 1 to 3, 3 to 4, 4 to 6, and so on.
func (w SlidingWindows) Slice(ts int64) Span {
	phase, cut := w.phase(ts), w.Size()%w.Slide()
	from := ts - phase
	switch {
	case cut == 0:
		return Span{Start: from, End: from + w.Slide()}
	case phase < cut:
		return Span{Start: from, End: from + cut}
	}
	return Span{Start: from + cut, End: from + w.Slide()}
}
