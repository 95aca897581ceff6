package memory

import (
	"slices"

	"github.com/tidwall/btree"
)

// entries is an ordered map that owns its values. A tree alone would do; but
// most calls ask for, or overwrite, one key, which a hash finds three times
// faster among 100 K, and most keys are gone again before anybody asks for the order:
// a key comes into the tree with the next scan.
type entries struct {
	values map[string]cell
	order  btree.Set[string] // of the keys whose cells say so
	fresh  []string          // the others, and some that were deleted or are there twice
}

// get returns the value itself, not a copy.
func (e *entries) get(key string) ([]byte, bool) {
	c, ok := e.values[key]
	if !ok {
		return nil, false
	}
	return c.value(), true
}

// set copies value into the entry of key, in place when it fits.
func (e *entries) set(key string, value []byte) {
	old, ok := e.values[key]
	if ok && old.overwrite(value) {
		return
	}
	c := newCell(value)
	if ok {
		c.setOrdered(old.ordered())
	} else {
		if e.values == nil {
			e.values = map[string]cell{}
		}
		e.add(key)
	}
	e.values[key] = c
}

// add takes note of a key that is not in values yet.
func (e *entries) add(key string) {
	const few = 1024
	if n := len(e.fresh); n >= few && n > 2*(len(e.values)-e.order.Len()) {
		e.sweep()
	}
	e.fresh = append(e.fresh, key)
}

// sweep keeps what must be in fresh, once.
func (e *entries) sweep() {
	kept := e.fresh[:0]
	for _, key := range e.fresh {
		if c, ok := e.values[key]; ok && !c.ordered() {
			c.setOrdered(true) // for now, so that it is kept once
			kept = append(kept, key)
		}
	}
	for _, key := range kept {
		e.values[key].setOrdered(false)
	}
	clear(e.fresh[len(kept):])
	e.fresh = kept
}

// arrange brings all keys into the tree.
func (e *entries) arrange() {
	if len(e.fresh) == 0 {
		return
	}
	slices.Sort(e.fresh)
	for _, key := range e.fresh {
		if c, ok := e.values[key]; ok && !c.ordered() {
			c.setOrdered(true)
			e.order.Insert(key)
		}
	}
	e.fresh = nil
}

func (e *entries) delete(key string) {
	if c, ok := e.values[key]; ok {
		delete(e.values, key)
		if c.ordered() {
			e.order.Delete(key)
		}
	}
}

// chunk is a run of entries, copied. It is filled again and again.
type chunk struct {
	keys []string
	ends []int // of each value in buf
	buf  []byte
}

// fill takes the first limit entries in [from, to).
func (c *chunk) fill(e *entries, from, to string, limit int) {
	c.keys, c.ends, c.buf = c.keys[:0], c.ends[:0], c.buf[:0]
	if c.buf == nil {
		c.buf = []byte{} // an empty value is not nil
	}
	e.arrange()
	e.order.Ascend(from, func(key string) bool {
		if to != "" && key >= to {
			return false
		}
		c.keys = append(c.keys, key)
		c.buf = append(c.buf, e.values[key].value()...)
		c.ends = append(c.ends, len(c.buf))
		return len(c.keys) < limit
	})
}

// value returns the value of the i-th entry, not nil when it is empty.
func (c *chunk) value(i int) []byte {
	start := 0
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.buf[start:c.ends[i]:c.ends[i]]
}
