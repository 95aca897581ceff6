package verify

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// output is what the windows of one partition emit, in order: a result or a late event.
type output struct {
	late  bool
	event Event
	sum   Sum
}

// outputs computes what must have been emitted once events are processed; floor is
// how many outputs there were before what the last of them, or the end, made due.
func (w Workload) outputs(events []Event, ended bool) (out []output, floor int) {
	type id struct {
		end int64
		key string
	}
	open := make(map[id]Sum)
	first := int64(math.MaxInt64) // end of the first open window
	watermark, high := int64(math.MinInt64), int64(math.MinInt64)
	fire := func() {
		if first-1 > watermark {
			return
		}
		var due []id
		first = math.MaxInt64
		for id := range open {
			if id.end-1 <= watermark {
				due = append(due, id)
			} else {
				first = min(first, id.end)
			}
		}
		slices.SortFunc(due, func(a, b id) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.key, b.key)) })
		for _, id := range due {
			out = append(out, output{sum: open[id]})
			delete(open, id)
		}
	}
	for _, e := range events {
		start := e.At - (e.At%w.Size+w.Size)%w.Size
		if start+w.Size-1 <= watermark {
			out = append(out, output{late: true, event: e})
		} else {
			at := id{start + w.Size, e.Key}
			s := open[at]
			s.Key, s.Start = e.Key, start
			s.Count, s.Sum, s.Mix = s.Count+1, s.Sum+e.N, s.Mix+Mix(e.Seq)
			open[at] = s
			first = min(first, at.end)
		}
		floor = len(out)
		if e.At > high {
			high, watermark = e.At, e.At-w.Delay-1
			fire()
		}
	}
	if ended {
		floor = len(out)
		watermark = math.MaxInt64
		fire()
	}
	return out, floor
}

// checkSums: every window that is due was emitted once, in order, with all its events.
func (w Workload) checkSums(d *Data, p int) error {
	t := d.Window[p]
	events, err := d.position(p, t)
	if err != nil {
		return fmt.Errorf("windows: %w", err)
	}
	want, least := w.outputs(events, t.Ended)
	if !t.Advancing {
		least = len(want)
	}
	sums, lates := d.Sums[p], d.Lates[p]
	published := int64(len(sums) + len(lates))
	for i, o := range want[:min(published, int64(len(want)))] {
		switch {
		case o.late && len(lates) == 0:
			return fmt.Errorf("output %d should be late input %d, and the topic %s has no more", i+1, o.event.Seq, Late)
		case o.late && lates[0] != o.event:
			return fmt.Errorf("output %d is late input %d, want %d", i+1, lates[0].Seq, o.event.Seq)
		case o.late:
			lates = lates[1:]
		case len(sums) == 0:
			return fmt.Errorf("output %d should be %+v, and the topic %s has no more", i+1, o.sum, Sums)
		case sums[0] != o.sum:
			return fmt.Errorf("output %d is %+v, want %+v", i+1, sums[0], o.sum)
		default:
			sums = sums[1:]
		}
	}
	if n := len(sums) + len(lates); n > 0 {
		return fmt.Errorf("%d outputs too many: published and not committed, or an older copy of the state was put back", n)
	}
	return t.waiting("windows", published, int64(least), int64(len(want)))
}
