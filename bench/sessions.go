package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

// sessionGap makes sessions of about 20 events: a key of 100,000 has one event a second, at random, so that
// one pause in 20 is longer.
const sessionGap = 3 * time.Second

func sessionsInMemory(e *env) error {
	const events = 10_000_000
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	sessions := path{pool: p, windows: window.Session(sessionGap)}
	tumbling := path{pool: p, size: window10s}
	_, err = e.table("sessions-memory", "sessions of a 3 s gap, count, 100000 keys; the state lives and dies with the process\n  to reach on 2 cores: >= 0.8 M events/s", []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return sessions.run(n, w, nil) }},
		{"tumbling 10 s", events, func(n int64, w *stopwatch) (sample, error) { return tumbling.run(n, w, nil) }},
		timed("hand-written loop", events, p.exact, func(n int64) error { return sessionLoop(p, n) }),
	})
	return err
}

func sessionsOnDisk(e *env) error {
	const events = 2_000_000
	p, err := e.pool(100_000, false)
	if err != nil {
		return err
	}
	sessions := path{pool: p, windows: window.Session(sessionGap), backend: onPebble(e.o.dir)}
	tumbling := path{pool: p, size: window10s, backend: onPebble(e.o.dir)}
	rec, err := record(sessions, max(int64(events*e.o.scale), minEvents))
	if err != nil {
		return err
	}
	n, commits := rec.writes()
	_, err = e.table("sessions-pebble", fmt.Sprintf("sessions of a 3 s gap, count, 100000 keys, synced commits: survives the machine; %d writes in %d commits\n  to reach on 2 cores: >= 0.2 M events/s", n, commits), []side{
		{"pondage", events, func(n int64, w *stopwatch) (sample, error) { return sessions.run(n, w, nil) }},
		{"tumbling 10 s", events, func(n int64, w *stopwatch) (sample, error) { return tumbling.run(n, w, nil) }},
		{"the same writes, raw", events, func(n int64, w *stopwatch) (sample, error) { return rec.replay(e.o.dir, p.exact(n), w) }},
	})
	return err
}

// heapOfSessions measures what a million open sessions of a count take.
func heapOfSessions(e *env) error {
	n := int(max(1_000_000*min(e.o.scale, 1), minEvents))
	e.printf("\nheap-sessions: open sessions of a count; memory: the state lives and dies with the process; to reach: <= 300 MB\n")
	for _, each := range []int{1, 10} {
		keys := n / each
		p, err := newPoolOf(n, keys, false, func(i int) int { return i % keys })
		if err != nil {
			return err
		}
		// Every event opens a session: a key's next comes when a tenth of the time has passed.
		gap := time.Duration(max(p.span/int64(2*each), 1)) * time.Millisecond
		c := path{pool: p, windows: window.Session(gap), delay: time.Hour, prepare: func(s *source) { s.open, s.fixed = true, true }}
		if err := e.heapOf(c, n, fmt.Sprintf("sessions, %d keys x %d", keys, each)); err != nil {
			return err
		}
	}
	return nil
}

// sessionCounter is the hand-written counterpart of sessions over one partition, whose events come in
// order of time: a map of the keys, and for each millisecond those that may end then.
type sessionCounter struct {
	gap  int64
	keys map[string]*openSession
	due  map[int64][]*openSession
	wm   int64
	late int
	buf  []byte
	emit func(payload []byte)
}

type openSession struct {
	key           string
	start, end, n int64
}

func newSessionCounter(gap time.Duration, emit func([]byte)) *sessionCounter {
	return &sessionCounter{gap: gap.Milliseconds(), keys: map[string]*openSession{}, due: map[int64][]*openSession{}, wm: math.MinInt64, emit: emit}
}

func (c *sessionCounter) add(e *event) {
	if s := c.keys[e.User]; s != nil {
		s.end = max(s.end, e.At+c.gap)
		s.n++
	} else {
		s = &openSession{strings.Clone(e.User), e.At, e.At + c.gap, 1}
		c.keys[s.key] = s
		c.due[s.end-1] = append(c.due[s.end-1], s)
	}
	if e.At-1 > c.wm {
		c.advance(e.At - 1)
	}
}

func (c *sessionCounter) advance(wm int64) {
	for at := max(c.wm+1, epoch); at <= wm && len(c.due) > 0; at++ {
		due, ok := c.due[at]
		if !ok {
			continue
		}
		delete(c.due, at)
		for _, s := range due {
			if s.end-1 > at {
				c.due[s.end-1] = append(c.due[s.end-1], s)
				continue
			}
			c.result(s)
			delete(c.keys, s.key)
		}
	}
	c.wm = wm
}

func (c *sessionCounter) result(s *openSession) {
	b := append(c.buf[:0], `{"key":`...)
	b = strconv.AppendQuote(b, s.key)
	b = append(b, `,"start":"`...)
	b = time.UnixMilli(s.start).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","end":"`...)
	b = time.UnixMilli(s.end).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","value":`...)
	b = strconv.AppendInt(b, s.n, 10)
	b = append(b, `,"pane":0,"id":"count/`...)
	b = append(b, s.key...)
	b = append(b, '/')
	b = strconv.AppendInt(b, s.start, 10)
	c.buf = append(b, `/0"}`...)
	c.emit(c.buf)
}

func (c *sessionCounter) lateOnes() int { return c.late }

func sessionLoop(p *pool, total int64) error {
	return handLoopOf(p, total, decodeBinary, func(emit func([]byte)) counting { return newSessionCounter(sessionGap, emit) })
}
