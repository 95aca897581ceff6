package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

// sample is what one run of one side took.
type sample struct {
	events int64
	wall   time.Duration
	cpu    time.Duration
	allocs uint64
	bytes  uint64
}

func (s sample) rate() float64     { return float64(s.events) / s.wall.Seconds() }
func (s sample) cpuNanos() float64 { return float64(s.cpu) / float64(s.events) }
func (s sample) perEvent(n uint64) float64 {
	return float64(n) / float64(s.events)
}

// stopwatch measures from its start to its stop.
type stopwatch struct {
	begin time.Time
	cpu   time.Duration
	mem   runtime.MemStats

	started func() // when given, called by start
}

// start collects garbage first, so that no side pays for another's.
func (w *stopwatch) start() {
	runtime.GC()
	runtime.ReadMemStats(&w.mem)
	if w.started != nil {
		w.started()
	}
	w.cpu = cpuTime()
	w.begin = time.Now()
}

func (w *stopwatch) stop(events int64) sample {
	s := sample{events: events, wall: time.Since(w.begin), cpu: cpuTime() - w.cpu}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.allocs, s.bytes = m.Mallocs-w.mem.Mallocs, m.TotalAlloc-w.mem.TotalAlloc
	return s
}

// side is one of those that are compared. run does the work for about events events
// and measures what belongs to it with w; it returns how many there were.
type side struct {
	name   string
	events int64
	run    func(events int64, w *stopwatch) (sample, error)
}

// timed is a side that is measured from begin to end.
func timed(name string, events int64, exact func(int64) int64, run func(events int64) error) side {
	return side{name, events, func(events int64, w *stopwatch) (sample, error) {
		w.start()
		err := run(events)
		return w.stop(exact(events)), err
	}}
}

// series are the samples of a side, one for each repeat.
type series []sample

func (s series) median(of func(sample) float64) float64 {
	vals := make([]float64, len(s))
	for i := range s {
		vals[i] = of(s[i])
	}
	return median(vals)
}

func median(vals []float64) float64 {
	vals = slices.Sorted(slices.Values(vals))
	n := len(vals)
	if n == 0 {
		return 0
	}
	return (vals[(n-1)/2] + vals[n/2]) / 2
}

// over returns the median of the repeats' ratios of events per second.
func (s series) over(base series) float64 {
	vals := make([]float64, min(len(s), len(base)))
	for i := range vals {
		vals[i] = s[i].rate() / base[i].rate()
	}
	return median(vals)
}

// compare lets the sides take turns.
func compare(sides []side, repeats int, scale float64) ([]series, error) {
	out := make([]series, len(sides))
	for r := range repeats {
		for i, s := range sides {
			var w stopwatch
			got, err := s.run(max(int64(float64(s.events)*scale), minEvents), &w)
			if err != nil {
				return nil, fmt.Errorf("%s, repeat %d: %w", s.name, r+1, err)
			}
			out[i] = append(out[i], got)
		}
	}
	return out, nil
}

// minEvents keeps the smallest runs from being nothing.
const minEvents = 2000
