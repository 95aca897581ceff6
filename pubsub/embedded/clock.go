package embedded

import "time"

func wallClock() time.Time { return time.Now() }

// stopwatch measures how long filling and handling take. It does not use
// Config.Now: what it measures is the machine, and no result depends on it.
type stopwatch struct{ at time.Time }

func startWatch() stopwatch { return stopwatch{time.Now()} }

func (s stopwatch) elapsed() time.Duration { return time.Since(s.at) }

// every returns a channel that ticks once per d, and how to stop it; nil when d is 0.
func every(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}
