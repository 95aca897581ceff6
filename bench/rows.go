package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// row is something measured, and where it is printed what survives it.
type row struct {
	name    string
	measure func(*env) error
}

const window10s = 10 * time.Second

type poolKey struct {
	keys int
	json bool
	slow int64
}

// env is what rows share.
type env struct {
	o     options
	out   io.Writer
	pools map[poolKey]*pool
}

func newEnv(o options, out io.Writer) *env {
	return &env{o: o, out: out, pools: make(map[poolKey]*pool)}
}

func (e *env) pool(keys int, asJSON bool) (*pool, error) { return e.slowPool(keys, asJSON, 1) }

// slowPool returns a pool of which a second of event time has a share of the events.
func (e *env) slowPool(keys int, asJSON bool, share int64) (*pool, error) {
	k := poolKey{keys, asJSON, share}
	if p := e.pools[k]; p != nil {
		return p, nil
	}
	p, err := newPool(e.o.pool, keys, asJSON)
	if err != nil {
		return nil, err
	}
	e.pools[k] = p.slowed(share)
	return p, nil
}

func (e *env) close() {
	for _, p := range e.pools {
		_ = p.free()
	}
}

func (e *env) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(e.out, format, args...) // who listens no more needs no numbers
}

// table compares sides and prints what came out.
func (e *env) table(name, about string, sides []side) ([]series, error) {
	var picked []side
	for _, s := range sides {
		if e.o.side.MatchString(s.name) {
			picked = append(picked, s)
		}
	}
	all, err := compare(picked, e.o.repeats, e.o.scale)
	if err != nil || len(picked) == 0 {
		return nil, err
	}
	e.printf("\n%s: %s\n", name, about)
	var b strings.Builder
	fmt.Fprintf(&b, "\tevents/s\tlow\thigh\tCPU ns/event\tallocs/event\tB/event\t%s is\t\n", picked[0].name)
	for i, s := range all {
		lo, hi := s[0].rate(), s[0].rate()
		for _, v := range s {
			lo, hi = min(lo, v.rate()), max(hi, v.rate())
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%.0f\t%.3f\t%.0f\t", picked[i].name,
			rate(s.median(sample.rate)), rate(lo), rate(hi), s.median(sample.cpuNanos),
			s.median(func(v sample) float64 { return v.perEvent(v.allocs) }),
			s.median(func(v sample) float64 { return v.perEvent(v.bytes) }))
		if i > 0 {
			fmt.Fprintf(&b, "%.2fx", all[0].over(s))
		}
		b.WriteString("\t\n")
	}
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := w.Write([]byte(b.String())); err != nil {
		return nil, err
	}
	return all, w.Flush()
}

func rate(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%.2f M", v/1e6)
	}
	return fmt.Sprintf("%.1f K", v/1e3)
}

func rows() []row {
	return []row{
		{"generator", generator},
		{"memory-binary", func(e *env) error {
			return inMemory(e, "memory-binary", 100_000, false, 10_000_000, ">= 2.0 M events/s, 0.2 of the loop, at most 1 allocation")
		}},
		{"memory-hot", func(e *env) error { return inMemory(e, "memory-hot", 10_000, false, 10_000_000, ">= 3.0 M events/s") }},
		{"memory-json", func(e *env) error {
			return inMemory(e, "memory-json", 100_000, true, 2_000_000, ">= 0.8 M events/s, 0.7 of the loop")
		}},
		{"pebble-binary", onDisk},
		{"redis-binary", onServer},
		{"stock-count", stockCount},
		{"stock-path", stockMessages},
		{"latency", latency},
		{"postgres-binary", onDatabase},
		{"sliding-10s", slidingInMemory},
		{"sliding-1h", slidingByTheSecond},
		{"sessions-memory", sessionsInMemory},
		{"sessions-pebble", sessionsOnDisk},
		{"kinds", otherKinds},
		{"closing", closing},
		{"heap", heap},
		{"heap-sessions", heapOfSessions},
		{"codec", codecs},
	}
}

func generator(e *env) error {
	var sides []side
	for _, asJSON := range []bool{false, true} {
		p, err := e.pool(100_000, asJSON)
		if err != nil {
			return err
		}
		name := "binary"
		if asJSON {
			name = "json"
		}
		sides = append(sides, timed(name, 20_000_000, p.exact, func(events int64) error { return fillAll(p, events) }))
	}
	_, err := e.table("generator", "filling batches of 1,024 on one core; part of every side below", sides)
	return err
}

func fillAll(p *pool, total int64) error {
	recs := makeRecords()
	for i := range p.parts {
		for next, end := int64(0), p.share(i, total); next < end; next += loopBatch {
			recs = p.fill(recs[:0], i, next, int(min(loopBatch, end-next)))
		}
	}
	return nil
}

func inMemory(e *env, name string, keys int, asJSON bool, events int64, target string) error {
	p, err := e.pool(keys, asJSON)
	if err != nil {
		return err
	}
	decode := decodeBinary
	if asJSON {
		decode = decodeJSON
	}
	discarding := path{pool: p, size: window10s}
	stored := path{pool: p, size: window10s, stored: true}
	_, err = e.table(name, fmt.Sprintf("tumbling 10 s count, %d keys; the state lives and dies with the process\n  to reach on 2 cores: %s", keys, target), []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return discarding.run(n, w, nil) }},
		{"pondage, results relayed", events, func(n int64, w *stopwatch) (sample, error) { return stored.run(n, w, nil) }},
		timed("hand-written loop", events, p.exact, func(n int64) error { return handLoop(p, n, window10s, decode) }),
		{"router, no-op, envelopes", 2 * events, func(n int64, w *stopwatch) (sample, error) { return bareRouter(p, n, false, w) }},
		{"router, no-op, one each", events / 20, func(n int64, w *stopwatch) (sample, error) { return bareRouter(p, n, true, w) }},
	})
	return err
}

func onDisk(e *env) error {
	const events = 2_000_000
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	c := path{pool: p, size: window10s, backend: onPebble(e.o.dir)}
	total := max(int64(events*e.o.scale), minEvents)
	rec, err := record(c, total)
	if err != nil {
		return err
	}
	n, commits := rec.writes()
	_, err = e.table("pebble-binary", fmt.Sprintf("tumbling 10 s count, 100000 keys, synced commits: survives the machine; %d writes in %d commits\n  to reach on 2 cores: >= 0.35 M events/s, 0.7 of raw", n, commits), []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return c.run(n, w, nil) }},
		{"the same writes, raw", events, func(n int64, w *stopwatch) (sample, error) { return rec.replay(e.o.dir, p.exact(n), w) }},
		timed("hand-written loop", 5*events, p.exact, func(n int64) error { return handLoop(p, n, window10s, decodeBinary) }),
	})
	return err
}

func stockCount(e *env) error {
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	c := path{pool: p, size: window10s}
	_, err = e.table("stock-count", "tumbling 10 s count, 100000 keys, one message per event over GoChannel; nothing survives the process\n  to reach: 8x", []side{
		{"pondage", 10_000_000, func(n int64, w *stopwatch) (sample, error) { return c.run(n, w, nil) }},
		{"watermill, map", 400_000, func(n int64, w *stopwatch) (sample, error) { return stockCounter(p, n, w) }},
	})
	return err
}

func stockMessages(e *env) error {
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	_, err = e.table("stock-path", "one publisher, GoChannel that blocks until the ack, one message per event; nothing survives the process\n  to reach: 0.8x", []side{
		{"pondage", 200_000, func(n int64, w *stopwatch) (sample, error) { return stockPath(p, n, w) }},
		{"router, no-op", 200_000, func(n int64, w *stopwatch) (sample, error) { return stockBare(p, n, w) }},
	})
	return err
}
