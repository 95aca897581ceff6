package stateful

import (
	"context"
	"time"
)

// Everything of this library that waits or looks at the wall clock is here; all
// else takes the time as an argument.

func wallClock() time.Time { return time.Now() }

// sleepUntil waits for d, and for ever when d is negative. It ends with an error when ctx is done, and with
// ErrClosed when one of two channels is closed.
func sleepUntil(ctx context.Context, d time.Duration, closed, orClosed <-chan struct{}) error {
	var over <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
		return nil
	case <-closed:
		return ErrClosed
	case <-orClosed:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ticks returns a channel that ticks every d, never when d is negative, and its stop.
func ticks(d time.Duration) (<-chan time.Time, func()) {
	if d < 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}
