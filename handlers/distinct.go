package handlers

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/axiomhq/hyperloglog"
	"github.com/cespare/xxhash/v2"

	"github.com/pondage/pondage/stateful"
)

const (
	// exactDistinct is up to how many different values are counted exactly.
	exactDistinct = 1024
	// sketchPrecision gives 2^14 registers of a byte and a standard error of 0.81 %.
	sketchPrecision = 14
	// maxTail is how many values wait until they are folded into a sketch, which is copied for that.
	maxTail = 256
)

// DistinctCount counts the different values of(event): exactly up to 1,024 of them, which takes 8 bytes each, then by
// HyperLogLog with a standard error of 0.81 %, which takes 16 KiB. What is stored depends on the set
// of values alone, in whatever order and batches they came.
func DistinctCount[E any](of func(E) string) Aggregate[E, Distinct] {
	a := Aggregate[E, Distinct]{
		Fold:  func(d Distinct, event E) (Distinct, error) { return d.with(xxhash.Sum64String(of(event))) },
		Merge: Distinct.merge,
	}
	if of == nil {
		a.fault = errors.New("DistinctCount needs a function that returns the event's value")
	}
	a.part = partOf(distinctKind, a)
	return a
}

// Distinct is the value of [DistinctCount]. Its JSON is the number. One that was read from JSON is
// only a number: nothing can be folded into it.
type Distinct struct {
	base *distinct // never changed; nil: nothing yet
	tail tail[uint64]
}

// distinct is a set of hashes: either a list or a sketch, or the count that it had.
type distinct struct {
	known  []uint64 // ascending, at most exactDistinct
	sketch *hyperloglog.Sketch
	read   bool // from JSON
	count  uint64
}

// Count returns the number of different values.
func (d Distinct) Count() uint64 {
	base := d.settled()
	switch {
	case base.read:
		return base.count
	case base.sketch != nil:
		return base.sketch.Clone().Estimate() // Estimate is free to change it
	}
	return uint64(len(base.known))
}

func (d Distinct) with(hash uint64) (Distinct, error) {
	if d.base != nil && d.base.read {
		return d, errReadFromJSON("Distinct")
	}
	if d.tail = d.tail.with(hash); d.tail.n == maxTail {
		d = Distinct{base: d.settled()}
	}
	return d, nil
}

func errReadFromJSON(what string) error {
	return stateful.TaskFault(fmt.Errorf("a %s that was stored as JSON cannot be folded into: leave State.Format at Auto", what))
}

// settled returns the set with what waits in the tail.
func (d Distinct) settled() *distinct {
	base := d.base
	if base == nil {
		base = &distinct{}
	}
	if d.tail.n == 0 {
		return base
	}
	return base.union(d.tail.items())
}

// union returns the set and hashes, in any order.
func (s *distinct) union(hashes []uint64) *distinct {
	if s.sketch == nil {
		known := append(slices.Clone(s.known), hashes...)
		slices.Sort(known)
		if known = slices.Compact(known); len(known) <= exactDistinct {
			return &distinct{known: slices.Clip(known)}
		}
		hashes = known
	}
	u := s.dense()
	for _, h := range hashes {
		u.InsertHash(h)
	}
	return &distinct{sketch: u}
}

// dense returns a sketch of the set that is the caller's own.
func (s *distinct) dense() *hyperloglog.Sketch {
	if s.sketch != nil {
		return s.sketch.Clone()
	}
	u := hyperloglog.NewNoSparse() // the sparse form depends on the order of what came
	for _, h := range s.known {
		u.InsertHash(h)
	}
	return u
}

func (d Distinct) merge(o Distinct) (Distinct, error) {
	a, b := d.settled(), o.settled()
	switch {
	case a.read || b.read:
		return d, errReadFromJSON("Distinct")
	case b.sketch == nil:
		return Distinct{base: a.union(b.known)}, nil
	case a.sketch == nil:
		return Distinct{base: b.union(a.known)}, nil
	}
	u := a.dense()
	if err := u.Merge(b.sketch); err != nil {
		return d, err
	}
	return Distinct{base: &distinct{sketch: u}}, nil
}

// MarshalJSON implements [json.Marshaler].
func (d Distinct) MarshalJSON() ([]byte, error) { return json.Marshal(d.Count()) }

// UnmarshalJSON implements [json.Unmarshaler].
func (d *Distinct) UnmarshalJSON(b []byte) error {
	base := &distinct{read: true}
	if err := json.Unmarshal(b, &base.count); err != nil {
		return err
	}
	*d = Distinct{base: base}
	return nil
}

// The first byte of a stored Distinct.
const (
	storedHashes = 1
	storedSketch = 2
)

// AppendBinary implements [encoding.BinaryAppender]: 1 and the hashes, ascending, 8 bytes each, little-endian; or
// 2 and the sketch as its library writes it.
func (d *Distinct) AppendBinary(b []byte) ([]byte, error) {
	s := d.settled()
	switch {
	case s.read:
		return b, errReadFromJSON("Distinct")
	case s.sketch != nil:
		return s.sketch.AppendBinary(append(b, storedSketch))
	}
	b = append(b, storedHashes)
	for _, h := range s.known {
		b = binary.LittleEndian.AppendUint64(b, h)
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (d *Distinct) UnmarshalBinary(b []byte) error {
	s := &distinct{}
	switch {
	case len(b) == 0:
		return errStateShort
	case b[0] == storedSketch:
		s.sketch = new(hyperloglog.Sketch)
		if err := s.sketch.UnmarshalBinary(b[1:]); err != nil {
			return err
		}
		// As NewNoSparse makes it: version, precision, bias, no sparse form.
		if b[2] != sketchPrecision || b[4] != 0 {
			return errors.New("the stored sketch has another precision, or is sparse")
		}
	case b[0] != storedHashes:
		return fmt.Errorf("the stored aggregate is of the unknown form %d: use the program that wrote it, or a newer one", b[0])
	case len(b)%8 != 1 || len(b)/8 > exactDistinct:
		return errStateShort
	default:
		for b = b[1:]; len(b) > 0; b = b[8:] {
			h := binary.LittleEndian.Uint64(b)
			if n := len(s.known); n > 0 && s.known[n-1] >= h {
				return errors.New("the stored hashes are out of order")
			}
			s.known = append(s.known, h)
		}
	}
	*d = Distinct{base: s}
	return nil
}
