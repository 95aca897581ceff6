package memory

import "encoding/binary"

// An arena holds entries in large chunks that the garbage collector does not look into:
// with two small objects for each of a million keys, marking them costs more than all
// else that a small commit does. Whatever refers to an entry, indexes included, is a ref.
type arena struct {
	chunks []*[chunkBytes]byte
	next   ref                 // the first unit never given out
	used   int                 // units in blocks that are in use
	free   [maxUnits + 1]ref   // by size: blocks given back, linked by their first field
	large  map[ref]*largeEntry // of entries that do not fit into a block
}

// ref is the place of a block, counted in units. 0 is no place.
type ref uint32

const (
	unit       = 16
	chunkUnits = 1 << 12
	chunkBytes = chunkUnits * unit
	// maxUnits bounds a block, and with it what the end of a chunk can waste.
	maxUnits = 128
)

// A block is the next entry of the same hash in four bytes, the lengths of key and value
// in two each, with a flag, and then both. It may be longer, up to the next full unit.
const (
	headerBytes = 8
	keyAt       = 4
	valueAt     = 6
	lengthMask  = 1<<14 - 1
	orderedFlag = 1 << 14 // of the key: it is in the tree
	largeFlag   = 1 << 15 // of the key: the entry is in arena.large
	freeFlag    = 1 << 15 // of the value: the block is not in use
)

type largeEntry struct {
	key   string
	value []byte
}

// units returns the size of the block for an entry, 0 for one that has none.
func units(key, value int) int {
	n := (headerBytes + key + value + unit - 1) / unit
	if n > maxUnits {
		return 0
	}
	return n
}

// at returns the memory from r on: all of its block, at least.
func (a *arena) at(r ref) []byte { return a.chunks[r/chunkUnits][r%chunkUnits*unit:] }

// add makes a block for an entry.
func (a *arena) add(key string, value []byte) ref {
	n := units(len(key), len(value))
	if n == 0 {
		r := a.take(1)
		a.setField(r, keyAt, largeFlag)
		a.setField(r, valueAt, 0)
		if a.large == nil {
			a.large = map[ref]*largeEntry{}
		}
		a.large[r] = &largeEntry{key, append(make([]byte, 0, len(value)), value...)}
		return r
	}
	r := a.take(n)
	a.setField(r, keyAt, uint16(len(key)))
	a.setField(r, valueAt, uint16(len(value)))
	b := a.at(r)[headerBytes:]
	copy(b[copy(b, key):], value)
	return r
}

// take returns a block of n units.
func (a *arena) take(n int) ref {
	a.used += n
	if r := a.free[n]; r != 0 {
		a.free[n] = a.link(r)
		return r
	}
	if left := chunkUnits - int(a.next%chunkUnits); n > left && a.next != 0 {
		a.next += ref(left) // less than maxUnits
	}
	if int(a.next/chunkUnits) == len(a.chunks) {
		if a.next > ref(1<<32-1-chunkUnits) {
			panic("memory: the state of one task has reached 64 GiB: spread it over more partitions")
		}
		a.chunks = append(a.chunks, new([chunkBytes]byte))
		if a.next == 0 {
			a.next = 1 // 0 is no place
		}
	}
	r := a.next
	a.next += ref(n)
	return r
}

// drop gives the block of an entry back.
func (a *arena) drop(r ref) {
	n := 1
	if a.field(r, keyAt)&largeFlag != 0 {
		delete(a.large, r)
	} else {
		n = units(int(a.field(r, keyAt)&lengthMask), int(a.field(r, valueAt)))
	}
	a.used -= n
	a.setField(r, valueAt, freeFlag)
	a.setLink(r, a.free[n])
	a.free[n] = r
}

// sparse reports whether so little of the arena is in use that its entries should move to
// a new one: what was once a peak is not held for ever.
func (a *arena) sparse() bool { return len(a.chunks) > 16 && 4*a.used < len(a.chunks)*chunkUnits }

// overwrite puts value in the place of the old one, and reports whether it could: not
// when it needs a block of another size.
func (a *arena) overwrite(r ref, value []byte) bool {
	k := a.field(r, keyAt)
	if k&largeFlag != 0 {
		e := a.large[r]
		if units(len(e.key), len(value)) != 0 {
			return false
		}
		e.value = append(e.value[:0], value...)
		return true
	}
	key := int(k & lengthMask)
	n := units(key, len(value))
	if n == 0 || n != units(key, int(a.field(r, valueAt))) {
		return false
	}
	a.setField(r, valueAt, uint16(len(value)))
	copy(a.at(r)[headerBytes+key:], value)
	return true
}

func (a *arena) is(r ref, key string) bool {
	k := a.field(r, keyAt)
	if k&largeFlag != 0 {
		return a.large[r].key == key
	}
	return int(k&lengthMask) == len(key) && string(a.at(r)[headerBytes:headerBytes+len(key)]) == key
}

func (a *arena) key(r ref) string {
	k := a.field(r, keyAt)
	if k&largeFlag != 0 {
		return a.large[r].key
	}
	return string(a.at(r)[headerBytes : headerBytes+int(k&lengthMask)])
}

// value returns the value itself, not nil when it is empty.
func (a *arena) value(r ref) []byte {
	k := a.field(r, keyAt)
	if k&largeFlag != 0 {
		return a.large[r].value
	}
	from := headerBytes + int(k&lengthMask)
	to := from + int(a.field(r, valueAt))
	return a.at(r)[from:to:to]
}

func (a *arena) unused(r ref) bool { return a.field(r, valueAt)&freeFlag != 0 }

func (a *arena) ordered(r ref) bool { return a.field(r, keyAt)&orderedFlag != 0 }

func (a *arena) setOrdered(r ref, yes bool) {
	k := a.field(r, keyAt) &^ orderedFlag
	if yes {
		k |= orderedFlag
	}
	a.setField(r, keyAt, k)
}

func (a *arena) link(r ref) ref            { return ref(binary.LittleEndian.Uint32(a.at(r))) }
func (a *arena) setLink(r, to ref)         { binary.LittleEndian.PutUint32(a.at(r), uint32(to)) }
func (a *arena) field(r ref, i int) uint16 { return binary.LittleEndian.Uint16(a.at(r)[i:]) }
func (a *arena) setField(r ref, i int, v uint16) {
	binary.LittleEndian.PutUint16(a.at(r)[i:], v)
}
