package memory

import (
	"encoding/binary"
	"unsafe"
)

// cell is a value in one block of memory: its length in four bytes, of which the
// highest bit says whether the key is in the tree, the value,
// and spare room up to the next multiple of 16, where the allocator would leave it
// anyway. A slice in its place would cost 16 bytes more for every entry.
type cell struct{ block *byte }

const (
	cellHeader  = 4
	cellOrdered = 1 << 31
)

func cellSize(n int) int { return (cellHeader + n + 15) &^ 15 }

func newCell(value []byte) cell {
	block := make([]byte, cellSize(len(value)))
	c := cell{unsafe.SliceData(block)}
	c.put(block, value)
	return c
}

func (cell) put(block, value []byte) {
	binary.LittleEndian.PutUint32(block, uint32(len(value)))
	copy(block[cellHeader:], value)
}

func (c cell) header() []byte { return unsafe.Slice(c.block, cellHeader) }

func (c cell) len() int { return int(binary.LittleEndian.Uint32(c.header()) &^ cellOrdered) }

func (c cell) ordered() bool { return c.header()[3]&0x80 != 0 }

func (c cell) setOrdered(yes bool) {
	h := c.header()
	h[3] &^= 0x80
	if yes {
		h[3] |= 0x80
	}
}

// value returns the value itself, not nil when it is empty.
func (c cell) value() []byte {
	end := cellHeader + c.len()
	return unsafe.Slice(c.block, end)[cellHeader:end:end]
}

// overwrite puts value in the place of the old one, and reports whether it could:
// not when it needs a block of another size.
func (c cell) overwrite(value []byte) bool {
	size := cellSize(len(value))
	if size != cellSize(c.len()) {
		return false
	}
	ordered := c.ordered()
	c.put(unsafe.Slice(c.block, size), value)
	c.setOrdered(ordered)
	return true
}
