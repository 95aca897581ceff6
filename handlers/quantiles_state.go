package handlers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/DataDog/sketches-go/ddsketch/store"
)

const storedBins = 1

// maxCount is up to where float64 counts one by one.
const maxCount = 1 << 53

// AppendBinary implements [encoding.BinaryAppender]: 1; the accuracy in 8 bytes, little-endian; the number of zeros as a uvarint; then for
// the negative and for the positive numbers: how many bins there are, as a uvarint, and for each, in ascending order, its
// index less that of the one before, as a varint, and its count, as a uvarint. It is ours and not the library's, which
// can write one sketch in several ways.
func (d *Distribution) AppendBinary(b []byte) ([]byte, error) {
	s := d.settled()
	if s == nil {
		return b, errors.New("the Distribution has no accuracy: begin with the Init of Quantiles")
	}
	b = append(b, storedBins)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.accuracy))
	b = binary.AppendUvarint(b, uint64(s.GetZeroCount()))
	b = appendBins(b, s.GetNegativeValueStore())
	return appendBins(b, s.GetPositiveValueStore()), nil
}

func appendBins(b []byte, s store.Store) []byte {
	bins, last := 0, 0
	s.ForEach(func(int, float64) bool { bins++; return false })
	b = binary.AppendUvarint(b, uint64(bins))
	s.ForEach(func(index int, count float64) bool {
		b = binary.AppendVarint(b, int64(index-last))
		b = binary.AppendUvarint(b, uint64(count))
		last = index
		return false
	})
	return b
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (d *Distribution) UnmarshalBinary(b []byte) error {
	if len(b) < 9 {
		return errStateShort
	}
	if b[0] != storedBins {
		return fmt.Errorf("the stored aggregate is of the unknown form %d: use the program that wrote it, or a newer one", b[0])
	}
	s, err := noSpread(math.Float64frombits(binary.LittleEndian.Uint64(b[1:])))
	if err != nil {
		return err
	}
	r := &numbers{b: b[9:]}
	_ = s.AddWithCount(0, float64(r.uvarint(maxCount)))
	s.readBins(r, s.GetNegativeValueStore())
	s.readBins(r, s.GetPositiveValueStore())
	if r.bad || len(r.b) > 0 {
		return errStateShort
	}
	*d = Distribution{base: s}
	return nil
}

// readBins reads what appendBins wrote.
func (s *spread) readBins(r *numbers, into store.Store) {
	n := r.uvarint(maxBins)
	low, high := int64(s.Index(s.MinIndexableValue()))-1, int64(s.Index(s.MaxIndexableValue()))+1
	first, last := int64(0), int64(0)
	for i := range n {
		delta, count := r.varint(), r.uvarint(maxCount)
		if i == 0 {
			first = delta
		}
		// An index that is out of range, or order, would make the store do what it was not made for.
		if r.bad || count == 0 || i > 0 && delta < 1 || delta > high-low || delta < low-high ||
			last+delta < low || last+delta > high || last+delta-first >= maxBins {
			r.bad = true
			return
		}
		last += delta
		into.AddWithCount(int(last), float64(count))
	}
}
