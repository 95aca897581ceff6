package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// counter is the hand-written counterpart of a tumbling count over one partition: a plain
// map for each open window, a watermark, results as JSON. It survives nothing.
type counter struct {
	size    int64 // of a window, in milliseconds
	windows map[int64]map[string]*int
	cur     map[string]*int // of the window at curFrom
	curFrom int64
	due     int64 // when the first open window closes
	max     int64 // highest time seen
	late    int
	buf     []byte
	emit    func(payload []byte)
}

func newCounter(size time.Duration, emit func([]byte)) *counter {
	return &counter{
		size: size.Milliseconds(), windows: make(map[int64]map[string]*int),
		curFrom: math.MinInt64, due: math.MaxInt64, max: math.MinInt64, emit: emit,
	}
}

func (c *counter) add(e *event) {
	from := e.At - ((e.At%c.size)+c.size)%c.size
	if from+c.size <= c.max {
		c.late++
		return
	}
	if from != c.curFrom || c.cur == nil {
		c.open(from)
	}
	if n := c.cur[e.User]; n != nil {
		*n++
	} else {
		// A pointer, so that a known key costs one look-up; the event does not keep its user.
		n = new(int)
		*n = 1
		c.cur[strings.Clone(e.User)] = n
	}
	if e.At > c.max {
		c.max = e.At
		if c.max-1 >= c.due {
			c.advance(c.max - 1)
		}
	}
}

func (c *counter) open(from int64) {
	w := c.windows[from]
	if w == nil {
		w = make(map[string]*int)
		c.windows[from] = w
		c.due = min(c.due, from+c.size-1)
	}
	c.cur, c.curFrom = w, from
}

// advance fires what is due at the watermark, in order of time.
func (c *counter) advance(wm int64) {
	var starts []int64
	c.due = math.MaxInt64
	for from := range c.windows {
		if end := from + c.size - 1; end <= wm {
			starts = append(starts, from)
		} else {
			c.due = min(c.due, end)
		}
	}
	slices.Sort(starts)
	for _, from := range starts {
		for key, n := range c.windows[from] {
			c.result(key, from, *n)
		}
		delete(c.windows, from)
		if from == c.curFrom {
			c.cur = nil
		}
	}
}

func (c *counter) result(key string, from int64, n int) {
	b := append(c.buf[:0], `{"key":`...)
	b = strconv.AppendQuote(b, key)
	b = append(b, `,"start":"`...)
	b = time.UnixMilli(from).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","end":"`...)
	b = time.UnixMilli(from+c.size).UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","value":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `,"pane":0,"id":"count/`...)
	b = append(b, key...)
	b = append(b, '/')
	b = strconv.AppendInt(b, from, 10)
	c.buf = append(b, `/0"}`...)
	c.emit(c.buf)
}

// loopBatch is how many events the loop fills at once.
const loopBatch = 1024

// counting is what the loop does with the events of a partition.
type counting interface {
	add(e *event)
	advance(wm int64)
	lateOnes() int
}

func (c *counter) lateOnes() int { return c.late }

// handLoop counts in tumbling windows.
func handLoop(p *pool, total int64, size time.Duration, decode func([]byte, *event) error) error {
	return handLoopOf(p, total, decode, func(emit func([]byte)) counting { return newCounter(size, emit) })
}

// handLoopOf is the whole path written by hand: each of as many goroutines as there are
// cores has its partitions, and decodes, counts and emits.
func handLoopOf(p *pool, total int64, decode func([]byte, *event) error, count func(emit func([]byte)) counting) error {
	out := newTally(p.exact(total))
	workers := min(runtime.GOMAXPROCS(0), partitions)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = loopWorker(p, w, workers, total, decode, count, out) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return out.check()
}

func loopWorker(p *pool, first, step int, total int64, decode func([]byte, *event) error, count func(emit func([]byte)) counting, out *tally) error {
	type part struct {
		index     int
		next, end int64
		c         counting
	}
	var mine []*part
	for i := first; i < partitions; i += step {
		mine = append(mine, &part{index: i, end: p.share(i, total), c: count(out.add)})
	}
	recs := makeRecords()
	var e event
	for busy := true; busy; {
		busy = false
		for _, pt := range mine {
			n := int(min(loopBatch, pt.end-pt.next))
			if n == 0 {
				continue
			}
			busy = true
			recs = p.fill(recs[:0], pt.index, pt.next, n)
			for i := range recs {
				e = event{}
				if err := decode(recs[i].Value, &e); err != nil {
					return fmt.Errorf("decode: %w", err)
				}
				pt.c.add(&e)
			}
			pt.next += int64(n)
		}
	}
	for _, pt := range mine {
		pt.c.advance(math.MaxInt64)
		out.dropped(pt.c.lateOnes())
	}
	return nil
}
