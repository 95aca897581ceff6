package handlers

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/pondage/pondage/stateful"
)

const (
	dueChunk      = 64      // keys in an entry of the index, at most
	dueChunkBytes = 4 << 10 // beyond so many of keys it is full too
)

// dueIndex finds the keys of which something is due, in order of time and key. It is stored, so that a
// task is opened without a look at its sessions, and in chunks, so that a key costs a few bytes in it.
//
// An entry is a lower bound: a session that is extended stays where it is, and is looked at
// again when its old time has come. Each key has one entry that counts, that
// of keySessions.look; others are left over and are passed over.
//
// Nothing here has to be undone when a record fails: what is stored is undone by the table, and an
// entry too many in memory is one left over.
type dueIndex struct {
	table   *stateful.Table[dueKeys]
	width   int64      // of a part, in milliseconds
	parts   []*duePart // by time, without gaps in what may be stored
	front   dueHeap    // the entries of the parts that were opened
	coldTo  int64      // all that was stored when the task was opened is due before
	scratch []byte
}

// duePart has the chunks of all entries with from <= at < from + width. A chunk is stored
// under its first entry.
type duePart struct {
	from   int64
	chunks []*stateful.Cell[dueKeys] // some without a value, of records that failed
	cold   bool                      // the store may have others
	opened bool                      // its entries are in front
}

// find finds the parts that are stored, one look-up for each.
func (d *dueIndex) find(ctx context.Context) error {
	d.coldTo = math.MinInt64
	for from := []byte(nil); ; {
		name, err := d.table.First(ctx, from)
		if err != nil || name == "" {
			return err
		}
		if len(name) < endBytes {
			return errSessionDamaged
		}
		p := &duePart{from: floorTo(stateful.ParseOrdered(name), d.width), cold: true}
		d.parts = append(d.parts, p)
		d.coldTo = p.from + d.width
		from = stateful.AppendOrdered(from[:0], d.coldTo)
	}
}

// add makes an entry.
func (d *dueIndex) add(ctx context.Context, at int64, key string) error {
	p := d.part(at)
	if p.opened {
		d.front.push(dueKey{at, key})
	}
	if n := len(p.chunks); n > 0 {
		if last, has := p.chunks[n-1].Value(); has && hasRoom(last) {
			d.table.Put(p.chunks[n-1], append(last, dueKey{at, key}))
			return nil
		}
	}
	d.scratch = append(stateful.AppendOrdered(d.scratch[:0], at), key...)
	c := d.table.Find(d.scratch)
	if c == nil {
		var err error
		if c, err = d.load(ctx, p); err != nil {
			return err
		}
		p.chunks = append(p.chunks, c)
	}
	if _, has := c.Value(); !has { // else it is left over from a time when the key had it before
		d.table.Put(c, append(make(dueKeys, 0, 4), dueKey{at, c.Key()[endBytes:]}))
	}
	return nil
}

func (d *dueIndex) load(ctx context.Context, p *duePart) (*stateful.Cell[dueKeys], error) {
	if p.cold {
		return d.table.Load(ctx, d.scratch)
	}
	return d.table.Fresh(d.scratch), nil
}

func hasRoom(keys dueKeys) bool {
	if len(keys) < 4 {
		return true
	}
	bytes := 0
	for i := range keys {
		bytes += len(keys[i].key)
	}
	return len(keys) < dueChunk && bytes < dueChunkBytes
}

// part returns the part of a time.
func (d *dueIndex) part(at int64) *duePart {
	from := floorTo(at, d.width)
	i, found := slices.BinarySearchFunc(d.parts, from, func(p *duePart, from int64) int {
		switch {
		case p.from < from:
			return -1
		case p.from > from:
			return 1
		}
		return 0
	})
	if !found {
		// Of what lies before one that was opened all is in front.
		opened := i < len(d.parts) && d.parts[i].opened
		d.parts = slices.Insert(d.parts, i, &duePart{from: from, opened: opened})
	}
	return d.parts[i]
}

// earliest returns a time before which nothing is due.
func (d *dueIndex) earliest() int64 {
	at := int64(math.MaxInt64)
	if len(d.front) > 0 {
		at = d.front[0].at
	}
	for _, p := range d.parts {
		if !p.opened {
			return min(at, p.from)
		}
	}
	return at
}

// head returns the first entry that is due at wm, opening what must be opened to know it.
func (d *dueIndex) head(ctx context.Context, wm int64) (dueKey, bool, error) {
	for _, p := range d.parts {
		if p.opened {
			continue
		}
		if p.from > wm || len(d.front) > 0 && d.front[0].at < p.from {
			break
		}
		if err := d.open(ctx, p); err != nil {
			return dueKey{}, false, err
		}
	}
	if len(d.front) == 0 || d.front[0].at > wm {
		return dueKey{}, false, nil
	}
	return d.front[0], true, nil
}

func (d *dueIndex) open(ctx context.Context, p *duePart) error {
	for _, c := range p.chunks {
		d.take(c)
	}
	if p.cold {
		for c, err := range d.table.Cold(ctx, stateful.AppendOrdered(nil, p.from), stateful.AppendOrdered(nil, p.from+d.width)) {
			if err != nil {
				return err
			}
			p.chunks = append(p.chunks, c)
			d.take(c)
		}
	}
	p.cold, p.opened = false, true
	return nil
}

func (d *dueIndex) take(c *stateful.Cell[dueKeys]) {
	keys, _ := c.Value()
	for _, e := range keys {
		d.front.push(e)
	}
}

// passed returns the first part that is done with at wm and still has chunks, nil when there is none.
func (d *dueIndex) passed(wm int64) *duePart {
	for len(d.parts) > 0 && d.parts[0].opened {
		p := d.parts[0]
		if p.from+d.width-1 > wm || len(d.front) > 0 && d.front[0].at < p.from+d.width {
			return nil
		}
		if len(p.chunks) > 0 {
			return p
		}
		d.parts = d.parts[1:]
	}
	return nil
}

// drop deletes the first n chunks. A cell must not be looked at once its deletion is committed, so
// they are let go of at once: nothing that can fail comes behind.
func (d *dueIndex) drop(p *duePart, n int) {
	n = min(n, len(p.chunks))
	for _, c := range p.chunks[:n] {
		d.table.Delete(c)
	}
	p.chunks = p.chunks[n:]
}

// cold reports whether there may be keys that are stored and not in memory. Each had an
// entry, and all that were looked at were loaded.
func (d *dueIndex) cold() bool {
	if d.coldTo == math.MinInt64 {
		return false
	}
	for _, p := range d.parts {
		if p.from >= d.coldTo {
			break
		}
		if !p.opened {
			return true
		}
	}
	if len(d.front) > 0 && d.front[0].at < d.coldTo {
		return true
	}
	d.coldTo = math.MinInt64
	return false
}

func floorTo(t, width int64) int64 {
	m := t % width
	if m < 0 {
		m += width
	}
	return t - m
}

// dueHeap is a heap by time and key.
type dueHeap []dueKey

func (a dueKey) before(b dueKey) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return strings.Compare(a.key, b.key) < 0
}

func (h *dueHeap) push(e dueKey) {
	*h = append(*h, e)
	s := *h
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(s[up]) {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = e
}

func (h *dueHeap) pop() {
	s := *h
	n := len(s) - 1
	e := s[n]
	s[n] = dueKey{}
	s = s[:n]
	*h = s
	if n == 0 {
		return
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && s[down+1].before(s[down]) {
			down++
		}
		if !s[down].before(e) {
			break
		}
		s[i] = s[down]
		i = down
	}
	s[i] = e
}
