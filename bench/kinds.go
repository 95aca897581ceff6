package main

import (
	"fmt"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful/window"
)

// otherKinds measures windows that keep something beside their value.
func otherKinds(e *env) error {
	const events = 5_000_000
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	tumbling := path{pool: p, size: window10s}
	count := path{pool: p, windows: window.Count(10)}
	global := path{pool: p, windows: window.Global(), change: func(w *handlers.Window[event, int64]) { w.Trigger = handlers.EveryN(10) }}
	early := path{pool: p, size: window10s, change: func(w *handlers.Window[event, int64]) { w.Trigger = handlers.EveryUpdate() }}
	retracting := path{pool: p, size: window10s, change: func(w *handlers.Window[event, int64]) {
		w.Trigger, w.Emit = handlers.EveryUpdate(), handlers.Retracting
	}}
	_, err = e.table("kinds", fmt.Sprintf("count, %d keys; the state lives and dies with the process\n  to reach on 2 cores, retracting every update: >= 0.3 M events/s", 100_000), []side{
		{"tumbling 10 s", events, func(n int64, w *stopwatch) (sample, error) { return tumbling.run(n, w, nil) }},
		{"count 10", events, func(n int64, w *stopwatch) (sample, error) { return count.run(n, w, nil) }},
		{"global, every 10", events, func(n int64, w *stopwatch) (sample, error) { return global.run(n, w, nil) }},
		{"tumbling, every update", events, func(n int64, w *stopwatch) (sample, error) { return early.run(n, w, nil) }},
		{"retracting every update", events / 2, func(n int64, w *stopwatch) (sample, error) { return retracting.run(n, w, nil) }},
	})
	return err
}
