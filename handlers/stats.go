package handlers

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// Stats counts what a [Window] does, over all its tasks in this process. Set a pointer to
// one in the handler, each handler its own. The zero value is ready to use; it must not be copied and may be read by any
// goroutine at any time. [Stats.Read] has the sums of the handler, [Stats.Tasks] the counts of each partition.
//
// The counts are for looking at: they begin at 0 with the process, and what is done again
// after a failure is counted again. Of the events that the handler got, each is Folded, Late or Filtered;
// those that failed are none of these.
type Stats struct {
	mu    sync.Mutex
	tasks map[stateful.TaskID]*taskStats
}

// Counts are the numbers of [Stats].
type Counts struct {
	Folded uint64 // events that went into a window
	Late   uint64 // events that came after their windows were gone; without LateTo they were dropped
	// Filtered are events that Where did not take.
	Filtered uint64
	Fired    uint64 // results, those taken back included
	// Retracted are results that were taken back.
	Retracted uint64
	Open      int // windows that hold something, each once per task
	// Watermark is the lowest of all tasks that processed something, in milliseconds since 1970 UTC;
	// math.MinInt64 when there is none.
	Watermark int64
}

// taskStats is written by the task's goroutine alone.
type taskStats struct {
	folded, late, fired atomic.Uint64
	filtered            atomic.Uint64
	retracted           atomic.Uint64
	open                atomic.Int64
	watermark           atomic.Int64
	_                   [64]byte // keeps two tasks' counters off one cache line
}

// Read returns the counts.
func (s *Stats) Read() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Counts{Watermark: window.Never}
	low := int64(math.MaxInt64)
	for _, t := range s.tasks {
		of := t.read()
		c.Folded += of.Folded
		c.Late += of.Late
		c.Filtered += of.Filtered
		c.Fired += of.Fired
		c.Retracted += of.Retracted
		c.Open += of.Open
		low = min(low, of.Watermark)
	}
	if len(s.tasks) > 0 {
		c.Watermark = low
	}
	return c
}

// Tasks returns the counts of every task, which is a handler's partition.
func (s *Stats) Tasks() map[stateful.TaskID]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[stateful.TaskID]Counts, len(s.tasks))
	for id, t := range s.tasks {
		all[id] = t.read()
	}
	return all
}

func (t *taskStats) read() Counts {
	return Counts{
		Folded: t.folded.Load(), Late: t.late.Load(), Filtered: t.filtered.Load(), Fired: t.fired.Load(), Retracted: t.retracted.Load(),
		Open: int(t.open.Load()), Watermark: t.watermark.Load(),
	}
}

// of returns the counters of a task, which outlive its instances; nil without Stats.
func (s *Stats) of(t *stateful.Task) *taskStats {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks == nil {
		s.tasks = make(map[stateful.TaskID]*taskStats)
	}
	c := s.tasks[t.ID()]
	if c == nil {
		c = new(taskStats)
		s.tasks[t.ID()] = c
	}
	c.watermark.Store(t.Watermark())
	return c
}

// bump adds one to a counter that only the caller writes.
func bump(c *atomic.Uint64) { c.Store(c.Load() + 1) }
