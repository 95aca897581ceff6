package main

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pondage/pondage/stateful"
)

// latencyWindow is short, so that results leave all the time, one for nearly every event,
// and not in one burst at the end of each ten seconds.
const latencyWindow = 10 * time.Millisecond

// pebbleRate is what the row pebble-binary is to reach, in events a second.
const pebbleRate = 350_000

// lags collects how long after the end of its window each result reached the sink.
type lags struct {
	from, to int64 // only windows that end within, in milliseconds
	mu       sync.Mutex
	all      []time.Duration
}

// take is the sink. The event that closes a window was due at its end or later, so the lag is
// never less than the time from when that event should have been sent.
func (l *lags) take(rows []stateful.Row) {
	now := time.Now().UnixNano()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range rows {
		if end := rows[i].Time + 1; end >= l.from && end <= l.to {
			l.all = append(l.all, time.Duration(now-end*int64(time.Millisecond)))
		}
	}
}

func (l *lags) quantile(q float64) time.Duration {
	if len(l.all) == 0 {
		return 0
	}
	return l.all[min(int(math.Ceil(q*float64(len(l.all))))-1, len(l.all)-1)]
}

// latency finds the highest rate and then sends at half of it, whatever comes out, and at half of the rate
// that is asked for, which is the same whatever the highest is.
func latency(e *env) error {
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	c := path{pool: p, size: latencyWindow, stored: true, backend: onPebble(e.o.dir)}
	peaks, err := e.table("latency-peak", "tumbling 10 ms count, a result for nearly every event, stored and relayed; pebble, synced: survives the machine", []side{
		{"pondage", 1_000_000, func(n int64, w *stopwatch) (sample, error) { return c.run(n, w, nil) }},
	})
	if err != nil || len(peaks) == 0 {
		return err
	}
	half := peaks[0].median(sample.rate) / 2
	if err := c.latencyAt(e, half, "half of that"); err != nil {
		return err
	}
	return c.latencyAt(e, pebbleRate/2, "half of what the row pebble is to reach")
}

// latencyAt sends at a rate and prints how long results took.
func (c *path) latencyAt(e *env, perSecond float64, what string) error {
	e.printf("\nlatency: source to output at %s events/s, %s, open loop, from when each event was due; to reach: p99 <= 25 ms\n", rate(perSecond), what)
	for range e.o.repeats {
		l, err := openLoop(*c, perSecond, max(time.Duration(float64(5*time.Second)*min(e.o.scale, 4)), 200*time.Millisecond))
		if err != nil {
			return err
		}
		e.printf("  %d results: p50 %v, p99 %v, p99.9 %v, max %v\n", len(l.all),
			l.quantile(0.5).Round(10*time.Microsecond), l.quantile(0.99).Round(10*time.Microsecond),
			l.quantile(0.999).Round(10*time.Microsecond), l.quantile(1).Round(10*time.Microsecond))
	}
	return nil
}

// openLoop sends at a rate for that long, of which the first fifth is not looked at.
func openLoop(c path, perSecond float64, during time.Duration) (*lags, error) {
	l := &lags{}
	c.sink = l.take
	c.prepare = func(s *source) {
		// Opening the database comes before the first event.
		begin := time.Now().Add(300 * time.Millisecond)
		s.pace = newPace(c.pool, perSecond, begin)
		l.from = begin.Add(during / 5).UnixMilli()
		l.to = begin.Add(during - 50*time.Millisecond).UnixMilli()
	}
	var w stopwatch
	_, err := c.run(int64(perSecond*during.Seconds()), &w, nil)
	slices.Sort(l.all)
	return l, err
}
