package outbox

import (
	"time"

	"github.com/pondage/pondage/stateful"
)

// grace has the published rows of one sink that stay in the state for a while: a sink that lost the
// last of what it took, as after a failover, gets them again (K3). It knows them by their number only.
type grace struct {
	chunks []graceChunk // oldest first
	rows   int
	bytes  int64
}

type graceChunk struct {
	last    uint64 // sequence of its last row
	refused uint64 // the last of them that was dead-lettered, 0 when none was
	rows    int
	bytes   int64
	since   time.Time
}

// add keeps rows that were published now. Those that come soon after others are let go with them.
func (g *grace) add(c *Config, rows []stateful.Row, refused bool, now time.Time) {
	soon, most := c.KeepFor/64, max(c.KeepRows/16, 1)
	for i := range rows {
		n := len(g.chunks)
		if n == 0 || g.chunks[n-1].rows >= most || now.Sub(g.chunks[n-1].since) > soon {
			g.chunks = append(g.chunks, graceChunk{since: now})
			n++
		}
		c, size := &g.chunks[n-1], int64(rows[i].Size())
		c.last = rows[i].Seq
		if refused {
			c.refused = c.last
		}
		c.rows++
		c.bytes += size
		g.rows++
		g.bytes += size
	}
}

// drop lets go of the oldest chunk.
func (g *grace) drop() graceChunk {
	c := g.chunks[0]
	g.chunks = g.chunks[1:]
	g.rows -= c.rows
	g.bytes -= c.bytes
	return c
}

// keeps reports whether published rows of e stay in the state for a while.
func (e *edge) keeps() bool {
	return e.traits.Cursor && e.prep == nil && e.way == relayed && e.relay.t.o.c.KeepFor > 0
}

// prune lets go of what was kept long enough, is too much, or takes the room of rows that wait. t is locked.
func (t *task) prune() {
	keptRows, keptBytes := 0, int64(0)
	for _, e := range t.edges {
		keptRows += e.relay.kept.rows
		keptBytes += e.relay.kept.bytes
	}
	if keptRows == 0 {
		return
	}
	c, now := &t.o.c, t.now()
	for _, e := range t.edges {
		r := e.relay
		for len(r.kept.chunks) > 0 {
			tooMuch := r.kept.rows > c.KeepRows ||
				t.maxRows > 0 && t.rows+keptRows > t.maxRows || t.maxBytes > 0 && t.bytes+keptBytes > t.maxBytes
			if !tooMuch && now.Sub(r.kept.chunks[0].since) < c.KeepFor {
				break
			}
			gone := r.kept.drop()
			keptRows -= gone.rows
			keptBytes -= gone.bytes
			r.trim, r.refused = gone.last, max(r.refused, gone.refused)
			t.progress++
		}
	}
}
