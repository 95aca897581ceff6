package handlers

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pondage/pondage/stateful"
)

// MaxParts is how many aggregates [All] composes at most.
const MaxParts = 7

// kind is one of the ready-made aggregates, as it is stored.
type kind uint8

const (
	noKind kind = iota
	countKind
	sumKind
	meanKind
	minKind
	maxKind
	// ready marks a mean that was read from JSON: the number is the mean itself.
	ready kind = 0x80
)

var kindNames = [...]string{countKind: "count", sumKind: "sum", meanKind: "mean", minKind: "min", maxKind: "max"}

// Values is the value of [All]: one number per part, in order. It needs no memory
// besides itself. Its JSON is an object in the order of the parts,
// {"count":3,"mean":2.5,"max":9}; the second part of a kind is called max_2, and so on.
type Values struct {
	kinds [MaxParts]kind // noKind behind the last
	count int64          // of events, which every part saw
	nums  [MaxParts]float64
}

// All composes aggregates that [Count], [Sum], [Mean], [Min] and [Max] returned, 1 to [MaxParts] of
// them, into one whose value has the numbers of all. An event that one of them refuses changes none.
func All[E any](parts ...Numeric[E]) Aggregate[E, Values] {
	var zero Values
	var errs []error
	if len(parts) == 0 || len(parts) > MaxParts {
		errs = append(errs, fmt.Errorf("All takes 1 to %d aggregates, not %d: make a Fold of your own for more", MaxParts, len(parts)))
	}
	of := make([]part[E], min(len(parts), MaxParts))
	for i := range of {
		of[i] = parts[i].numeric()
		zero.kinds[i] = of[i].kind
		switch {
		case of[i].kind == noKind:
			errs = append(errs, fmt.Errorf("part %d of All is none of Count, Sum, Mean, Min and Max: make a Fold of your own for it", i+1))
		case of[i].kind != countKind:
			errs = append(errs, numberFault("part "+strconv.Itoa(i+1)+" of All", of[i].of))
		}
	}
	return Aggregate[E, Values]{
		Init:  func() Values { return zero },
		Fold:  func(v Values, event E) (Values, error) { return foldAll(v, zero.kinds, of, event) },
		Merge: mergeAll,
		fault: errors.Join(errs...),
	}
}

func foldAll[E any](v Values, kinds [MaxParts]kind, parts []part[E], event E) (Values, error) {
	if v.kinds != kinds {
		return v, errOtherParts(v.kinds, kinds)
	}
	for i := range parts {
		if parts[i].kind == countKind {
			continue
		}
		n, err := finite(parts[i].of(event))
		if err == nil {
			err = v.take(i, n)
		}
		if err != nil {
			return v, err
		}
	}
	v.count++
	return v, nil
}

func mergeAll(a, b Values) (Values, error) {
	switch {
	case b.count == 0:
		return a, nil
	case a.count == 0:
		return b, nil
	case a.kinds != b.kinds:
		return a, errOtherParts(b.kinds, a.kinds)
	}
	for i, k := range a.kinds {
		if k == noKind || k == countKind {
			continue
		}
		if err := a.take(i, b.nums[i]); err != nil {
			return a, err
		}
	}
	a.count += b.count
	return a, nil
}

// take folds the number n into part i.
func (v *Values) take(i int, n float64) (err error) {
	at := &v.nums[i]
	switch {
	case v.kinds[i] == sumKind || v.kinds[i] == meanKind:
		*at, err = add(*at, n)
	case v.count == 0:
		*at = n
	case v.kinds[i] == minKind:
		*at = lesser(*at, n)
	case v.kinds[i] == maxKind:
		*at = greater(*at, n)
	}
	return err
}

func errOtherParts(stored, now [MaxParts]kind) error {
	return stateful.TaskFault(fmt.Errorf("the stored aggregate is All(%s) and the handler has All(%s): "+
		"give the handler another Name, or raise State.Version and set State.Migrate", partNames(stored), partNames(now)))
}

func partNames(kinds [MaxParts]kind) string {
	var names []string
	for _, k := range kinds {
		if k != noKind {
			names = append(names, kindNames[k&^ready])
		}
	}
	return strings.Join(names, ", ")
}

// Len returns the number of parts.
func (v Values) Len() int {
	for i, k := range v.kinds {
		if k == noKind {
			return i
		}
	}
	return MaxParts
}

// Count returns the number of events. In a value read from JSON it is known only
// when one of the parts is a [Count].
func (v Values) Count() int64 { return v.count }

// At returns the number of part i, counted from 0 in the order given to [All]; a
// count as a float64, and the least of no events as 0. It panics when there is no such part.
func (v Values) At(i int) float64 {
	switch v.kinds[i] {
	case noKind:
		panic(fmt.Sprintf("handlers: Values has %d parts, and part %d was asked for", v.Len(), i))
	case countKind:
		return float64(v.count)
	case meanKind:
		return Average{v.nums[i], v.count}.Mean()
	}
	return v.nums[i]
}

// MarshalJSON implements [json.Marshaler].
func (v Values) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 128)
	b = append(b, '{')
	var seen [len(kindNames)]int
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		k := v.kinds[i] &^ ready
		seen[k]++
		b = append(append(b, '"'), kindNames[k]...)
		if seen[k] > 1 {
			b = strconv.AppendInt(append(b, '_'), int64(seen[k]), 10)
		}
		b = append(b, `":`...)
		if k == countKind {
			b = strconv.AppendInt(b, v.count, 10)
			continue
		}
		n, err := json.Marshal(v.At(i))
		if err != nil {
			return nil, err
		}
		b = append(b, n...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements [json.Unmarshaler]. The parts are those of the object, in its order.
func (v *Values) UnmarshalJSON(b []byte) error {
	*v = Values{}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("read an aggregate: %q is not a JSON object", b)
	}
	for i := 0; d.More(); i++ {
		name, err := d.Token()
		if err != nil {
			return err
		}
		k := kindOf(fmt.Sprint(name))
		if k == noKind || i == MaxParts {
			return fmt.Errorf("read an aggregate: %q is no part of All", name)
		}
		v.kinds[i] = k
		into := any(&v.nums[i])
		if k == countKind {
			into = &v.count
		}
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("read an aggregate: %q: %w", name, err)
		}
	}
	_, err := d.Token()
	return err
}

func kindOf(name string) kind {
	name, _, _ = strings.Cut(name, "_")
	switch k := kind(max(0, indexOf(name))); k {
	case meanKind:
		return meanKind | ready
	default:
		return k
	}
}

func indexOf(name string) int {
	for i, n := range kindNames {
		if n == name && n != "" {
			return i
		}
	}
	return -1
}

// AppendBinary implements [encoding.BinaryAppender]: the number of parts, a byte for the kind of
// each, the count of events as a varint, and 8 bytes, little-endian, for each part that is no count.
func (v *Values) AppendBinary(b []byte) ([]byte, error) {
	n := v.Len()
	b = append(b, byte(n))
	for _, k := range v.kinds[:n] {
		b = append(b, byte(k))
	}
	b = binary.AppendVarint(b, v.count)
	for i, k := range v.kinds[:n] {
		if k != countKind {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.nums[i]))
		}
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (v *Values) UnmarshalBinary(b []byte) error {
	*v = Values{}
	if len(b) == 0 || int(b[0]) > MaxParts || len(b) < 1+int(b[0]) {
		return errStateShort
	}
	n := int(b[0])
	for i, k := range b[1 : 1+n] {
		if kind(k) == noKind || int(kind(k)&^ready) >= len(kindNames) {
			return fmt.Errorf("the stored aggregate has a part of the unknown kind %d: use the program that wrote it, or a newer one", k)
		}
		v.kinds[i] = kind(k)
	}
	count, w := binary.Varint(b[1+n:])
	if w <= 0 {
		return errStateShort
	}
	v.count, b = count, b[1+n+w:]
	for i, k := range v.kinds[:n] {
		if k == countKind {
			continue
		}
		if len(b) < 8 {
			return errStateShort
		}
		v.nums[i], b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
	}
	if len(b) > 0 {
		return errStateShort
	}
	return nil
}
