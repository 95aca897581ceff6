package main

import (
	"fmt"
	"runtime"
	"time"
)

// heap measures what a million open (key, window) pairs of a count take.
func heap(e *env) error {
	pairs := int(max(1_000_000*min(e.o.scale, 1), minEvents))
	e.printf("\nheap: open (key, window) pairs of a count; memory: the state lives and dies with the process; to reach: <= 250 MB\n")
	for _, windows := range []int{1, 10} {
		keys := pairs / windows
		p, err := newPoolOf(pairs, keys, false, func(i int) int { return i % keys })
		if err != nil {
			return err
		}
		// Every key comes once in each window, and none closes.
		size := max(time.Duration(p.span)*time.Millisecond/time.Duration(windows), time.Millisecond)
		c := path{pool: p, size: size, delay: time.Hour, prepare: func(s *source) { s.open, s.fixed = true, true }}
		if err := e.heapOf(c, pairs, fmt.Sprintf("pairs, %d keys x %d windows", keys, windows)); err != nil {
			return err
		}
	}
	return nil
}

// heapOf runs c over n events, each of which opens one of what is counted, and prints what they
// take. It frees the pool.
func (e *env) heapOf(c path, n int, what string) error {
	var before, after int64
	var w stopwatch
	w.started = func() { before = int64(w.mem.HeapAlloc) }
	_, err := c.run(int64(n), &w, func() error {
		after = heapNow()
		return nil
	})
	if err != nil {
		return err
	}
	e.printf("  %d %s: %.1f MB, %.0f B each\n", n, what, float64(after-before)/1e6, float64(after-before)/float64(n))
	return c.pool.free()
}

func heapNow() int64 {
	var m runtime.MemStats
	for range 3 { // what finalizers and pools held goes with the later ones
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
