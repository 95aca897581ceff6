package main

import (
	"context"
	"time"

	"github.com/pondage/pondage/stateful"
)

// pace makes a source an open loop: event i of a partition is due at a time that was
// settled beforehand, however far behind the receiver is.
type pace struct {
	begin time.Time
	every [partitions]time.Duration // between two events
}

// newPace spreads rate events per second over partitions by their share.
func newPace(p *pool, rate float64, begin time.Time) *pace {
	c := &pace{begin: begin}
	all := float64(len(p.mem) / eventBytes)
	for i := range c.every {
		share := float64(len(p.parts[i].at)) / all
		c.every[i] = time.Duration(float64(time.Second) / (rate * share))
	}
	return c
}

// at returns when event i is due.
func (c *pace) at(part int, i int64) time.Time {
	return c.begin.Add(time.Duration(i) * c.every[part])
}

// due waits until event next is due and returns the number of the first event that is not.
func (c *pace) due(ctx context.Context, part int, next int64) (int64, error) {
	if d := time.Until(c.at(part, next)); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return int64(time.Since(c.begin)/c.every[part]) + 1, nil
}

// stamp makes the time at which records are due their event time.
func (c *pace) stamp(recs []stateful.Record, part int) {
	for i := range recs {
		ms := c.at(part, recs[i].Offset).UnixMilli()
		recs[i].Time = ms
		putBinaryTime(recs[i].Value, ms)
	}
}
