package window

import "math"

// The ends of time. A watermark that is [Never] has not begun; at [Forever]
// everything is due.
const (
	Never   = math.MinInt64
	Forever = math.MaxInt64
)

// Watermark tells how far event time has come over several inputs, each with
// bounded out-of-orderness: an input's watermark is the highest time seen,
// minus the bound, minus 1 ms; the whole is the minimum over the inputs. It
// never goes back. A Watermark must not be used from several goroutines.
type Watermark struct {
	delay int64
	max   []int64 // highest time seen per input, Never at first, Forever once ended
	out   int64
}

// NewWatermark returns the watermark of inputs whose events are at most delay
// milliseconds behind the highest time seen.
func NewWatermark(inputs int, delay int64) *Watermark {
	w := &Watermark{delay: delay, max: make([]int64, inputs), out: Never}
	for i := range w.max {
		w.max[i] = Never
	}
	return w
}

// Now returns the watermark.
func (w *Watermark) Now() int64 { return w.out }

// Max returns the highest time seen on an input: [Never] when there was none,
// [Forever] once it ended. It is what must be stored to restore the input.
func (w *Watermark) Max(input int) int64 { return w.max[input] }

// Restore sets what was stored.
func (w *Watermark) Restore(out int64, maxima []int64) {
	w.out = out
	copy(w.max, maxima)
}

// Observe takes an event's time and returns the watermark.
func (w *Watermark) Observe(input int, ts int64) int64 {
	if ts <= w.max[input] {
		return w.out
	}
	w.max[input] = ts
	return w.recompute()
}

// End says that an input is finished: it no longer holds the watermark back.
func (w *Watermark) End(input int) int64 {
	w.max[input] = Forever
	return w.recompute()
}

func (w *Watermark) recompute() int64 {
	low := int64(Forever)
	for _, m := range w.max {
		low = min(low, w.of(m))
	}
	w.out = max(w.out, low)
	return w.out
}

// of is the watermark of an input whose highest time is m, without overflow.
func (w *Watermark) of(m int64) int64 {
	if m == Forever || m < Never+w.delay+1 {
		if m == Forever {
			return Forever
		}
		return Never
	}
	return m - w.delay - 1
}
