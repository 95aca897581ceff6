package main

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful/window"
)

// slidingInMemory compares windows that are merged from slices with those that have a value each.
func slidingInMemory(e *env) error {
	const events = 10_000_000
	for _, keys := range []int{10_000, 100_000} {
		p, err := e.pool(keys, false)
		if err != nil {
			return err
		}
		var fired [2]uint64
		slices := path{pool: p, windows: window.Sliding(window10s, 2*time.Second), fired: &fired[0]}
		copies := slices
		copies.fired, copies.change = &fired[1], func(w *handlers.Window[event, int64]) { w.Aggregate.Merge = nil }
		tumbling := path{pool: p, size: window10s}
		all, err := e.table("sliding-10s", fmt.Sprintf("sliding 10 s by 2 s, count, %d keys; the state lives and dies with the process\n  to reach on 2 cores, with 10000 keys: >= 1.2 M events/s, 3x", keys), []side{
			{"a value per window", events, func(n int64, w *stopwatch) (sample, error) { return copies.run(n, w, nil) }},
			{"slices", events, func(n int64, w *stopwatch) (sample, error) { return slices.run(n, w, nil) }},
			{"tumbling 10 s", events, func(n int64, w *stopwatch) (sample, error) { return tumbling.run(n, w, nil) }},
		})
		if err == nil && len(all) == 3 && fired[0] != fired[1] {
			err = fmt.Errorf("slices gave %d results, and a value per window %d", fired[0], fired[1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// slidingByTheSecond holds windows of 3,600 slices against those of 5. A key has ten events a second, and the
// events last for hours.
func slidingByTheSecond(e *env) error {
	const events, keys, share = 10_000_000, 100, 100
	p, err := e.slowPool(keys, false, share)
	if err != nil {
		return err
	}
	goesOn := func(s *source) { s.open = true } // closing an hour's windows is no part of it
	short := path{pool: p, windows: window.Sliding(window10s, 2*time.Second), prepare: goesOn}
	long := path{pool: p, windows: window.Sliding(time.Hour, time.Second), prepare: goesOn}
	_, err = e.table("sliding-1h", fmt.Sprintf("sliding windows, count, %d keys, 10 events of each in a second; the state lives and dies with the process\n  to reach: at most 1.5 times the time, 0.67x", keys), []side{
		{"10 s by 2 s", events, func(n int64, w *stopwatch) (sample, error) { return short.run(n, w, nil) }},
		{"1 h by 1 s", events, func(n int64, w *stopwatch) (sample, error) { return long.run(n, w, nil) }},
	})
	return err
}
