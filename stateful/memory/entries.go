package memory

import (
	"hash/maphash"
	"slices"

	"github.com/tidwall/btree"
)

// entries is an ordered map that owns its keys and values. A tree alone would do; but
// most calls ask for, or overwrite, one key, which a hash finds three times
// faster among 100 K, and most keys are gone again before anybody asks for the order:
// a key comes into the tree with the next scan.
type entries struct {
	arena arena
	seed  maphash.Seed
	index map[uint32]ref    // by hash: the first of its entries, which are linked
	count int               // of entries
	order btree.Set[string] // of the keys whose entries say so
	fresh []ref             // the other entries, and some that were deleted or are there twice

	collide uint32 // bits of the hashes that a test takes away
}

func (e *entries) hash(key string) uint32 { return uint32(maphash.String(e.seed, key)) &^ e.collide }

// find returns the entry of key, and the one it is linked from.
func (e *entries) find(hash uint32, key string) (at, before ref) {
	for at = e.index[hash]; at != 0 && !e.arena.is(at, key); at = e.arena.link(at) {
		before = at
	}
	return at, before
}

// relink puts to in the place of an entry.
func (e *entries) relink(hash uint32, before, to ref) {
	switch {
	case before != 0:
		e.arena.setLink(before, to)
	case to != 0:
		e.index[hash] = to
	default:
		delete(e.index, hash)
	}
}

// get returns the value itself, not a copy.
func (e *entries) get(key string) ([]byte, bool) {
	if e.count == 0 {
		return nil, false
	}
	at, _ := e.find(e.hash(key), key)
	if at == 0 {
		return nil, false
	}
	return e.arena.value(at), true
}

// set copies value into the entry of key, in place when it fits.
func (e *entries) set(key string, value []byte) {
	if e.index == nil {
		e.index, e.seed = map[uint32]ref{}, maphash.MakeSeed()
	}
	hash := e.hash(key)
	old, before := e.find(hash, key)
	if old != 0 && e.arena.overwrite(old, value) {
		return
	}
	at := e.arena.add(key, value)
	e.arena.setLink(at, 0)
	if old != 0 {
		e.arena.setLink(at, e.arena.link(old))
	}
	e.relink(hash, before, at)
	if old == 0 {
		e.count++
		e.list(at)
		return
	}
	if e.arena.ordered(old) {
		e.arena.setOrdered(at, true)
	} else {
		e.list(at)
	}
	e.arena.drop(old)
}

// list takes note of an entry that is not in the tree.
func (e *entries) list(at ref) {
	const few = 1024
	if n := len(e.fresh); n >= few && n > 2*(e.count-e.order.Len()) {
		e.sweep()
	}
	e.fresh = append(e.fresh, at)
}

// isFresh reports whether what is listed must be.
func (e *entries) isFresh(at ref) bool { return !e.arena.unused(at) && !e.arena.ordered(at) }

// sweep keeps what must be in fresh, once.
func (e *entries) sweep() {
	kept := e.fresh[:0]
	for _, at := range e.fresh {
		if e.isFresh(at) {
			e.arena.setOrdered(at, true) // for now, so that it is kept once
			kept = append(kept, at)
		}
	}
	for _, at := range kept {
		e.arena.setOrdered(at, false)
	}
	e.fresh = kept
}

// arrange brings all keys into the tree.
func (e *entries) arrange() {
	if len(e.fresh) == 0 {
		return
	}
	keys := make([]string, 0, e.count-e.order.Len())
	for _, at := range e.fresh {
		if e.isFresh(at) {
			e.arena.setOrdered(at, true)
			keys = append(keys, e.arena.key(at))
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		e.order.Insert(key)
	}
	e.fresh = nil
}

func (e *entries) delete(key string) {
	if e.count == 0 {
		return
	}
	hash := e.hash(key)
	at, before := e.find(hash, key)
	if at == 0 {
		return
	}
	e.relink(hash, before, e.arena.link(at))
	if e.arena.ordered(at) {
		e.order.Delete(key)
	}
	e.arena.drop(at)
	e.count--
	if e.arena.sparse() {
		e.move()
	}
}

// move copies the entries to a new arena.
func (e *entries) move() {
	var to arena
	index := make(map[uint32]ref, len(e.index))
	e.fresh = nil
	for hash, at := range e.index {
		for first := ref(0); at != 0; at = e.arena.link(at) {
			moved := to.add(e.arena.key(at), e.arena.value(at))
			to.setLink(moved, first)
			first, index[hash] = moved, moved
			if e.arena.ordered(at) {
				to.setOrdered(moved, true)
			} else {
				e.fresh = append(e.fresh, moved)
			}
		}
	}
	e.arena, e.index = to, index
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
		value, _ := e.get(key)
		c.buf = append(c.buf, value...)
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
