package window

import "math"

// The ends of time. A watermark that is [Never] has not begun; at [Forever]
// everything is due.
const (
	Never   = math.MinInt64
	Forever = math.MaxInt64
)

// InputState says how an input takes part in a [Watermark].
type InputState uint8

// The states of an input.
const (
	Counted InputState = iota // it holds the watermark back
	Idle                      // it was silent for too long and does not
	Lagging                   // it is heard again and behind what was emitted meanwhile: not yet
)

// Watermark tells how far event time has come over several inputs, each with
// bounded out-of-orderness: an input's watermark is the highest time seen,
// minus the bound, minus 1 ms; the whole is the minimum over the inputs that
// are neither idle nor lagging. It never goes back. It has no clock: who has one
// says which inputs are idle, see [Silence]. A Watermark must not be used from
// several goroutines.
type Watermark struct {
	delay int64
	in    []input
	out   int64
}

type input struct {
	max   int64 // highest time seen, Never at first, Forever once ended
	state InputState
}

// NewWatermark returns the watermark of inputs whose events are at most delay
// milliseconds behind the highest time seen.
func NewWatermark(inputs int, delay int64) *Watermark {
	w := &Watermark{delay: delay, in: make([]input, inputs), out: Never}
	for i := range w.in {
		w.in[i].max = Never
	}
	return w
}

// Now returns the watermark.
func (w *Watermark) Now() int64 { return w.out }

// Max returns the highest time seen on an input: [Never] when there was none,
// [Forever] once it ended. With [Watermark.State] it is what must be stored to
// restore the input.
func (w *Watermark) Max(input int) int64 { return w.in[input].max }

// State returns how an input takes part.
func (w *Watermark) State(input int) InputState { return w.in[input].state }

// Restore sets what was stored of the whole. The inputs follow by RestoreInput.
func (w *Watermark) Restore(out int64) { w.out = out }

// RestoreInput sets what was stored of an input.
func (w *Watermark) RestoreInput(i int, highest int64, s InputState) { w.in[i] = input{highest, s} }

// Observe takes an event's time and returns the watermark. An idle input is
// heard again; it counts once its own watermark has caught up with the whole.
func (w *Watermark) Observe(input int, ts int64) int64 {
	in := &w.in[input]
	if ts <= in.max && in.state == Counted {
		return w.out
	}
	in.max = max(in.max, ts)
	if in.state != Counted {
		in.state = Lagging
		if w.of(in.max) >= w.out {
			in.state = Counted
		}
	}
	return w.recompute()
}

// Idle says that an input was silent for too long, and returns the watermark.
// Once all inputs that have not ended are idle it is the highest of theirs.
func (w *Watermark) Idle(input int) int64 {
	if w.in[input].max == Forever {
		return w.out
	}
	w.in[input].state = Idle
	return w.recompute()
}

// End says that an input is finished: it no longer holds the watermark back.
func (w *Watermark) End(i int) int64 {
	w.in[i] = input{max: Forever}
	return w.recompute()
}

// Flush moves the watermark to a time that no event justifies, unless it is
// there already, and returns it.
func (w *Watermark) Flush(to int64) int64 {
	w.out = max(w.out, to)
	return w.out
}

// Ahead returns by how many milliseconds the highest time of an input is above
// that of the slowest other one that neither ended nor is idle: [Forever] when that
// one was never heard, 0 when there is none, or the input ended or is the slowest.
func (w *Watermark) Ahead(input int) int64 {
	own, low := w.in[input].max, int64(Forever)
	if own == Forever {
		return 0
	}
	for i := range w.in {
		if i != input && w.in[i].state != Idle {
			low = min(low, w.in[i].max)
		}
	}
	switch {
	case own <= low:
		return 0
	case own-low < 0: // it overflows
		return Forever
	}
	return own - low
}

func (w *Watermark) recompute() int64 {
	low, high := int64(Forever), int64(Never) // of the counted, of all
	var counted, lagging, idle bool
	for i := range w.in {
		in := &w.in[i]
		if in.max == Forever {
			continue
		}
		wm := w.of(in.max)
		high = max(high, wm)
		switch in.state {
		case Counted:
			low, counted = min(low, wm), true
		case Lagging:
			lagging = true
		case Idle:
			idle = true
		}
	}
	switch {
	case counted:
	case lagging:
		return w.out
	case idle:
		low = high
	}
	w.out = max(w.out, low)
	return w.out
}

// of is the watermark of an input whose highest time is m, without overflow.
func (w *Watermark) of(m int64) int64 {
	if m < Never+w.delay+1 {
		return Never
	}
	return m - w.delay - 1
}
