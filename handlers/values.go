package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	distinctKind
	quantilesKind
	firstKind
	lastKind
	topKind
	listKind
	reduceKind
	// ready marks a mean that was read from JSON: the number is the mean itself.
	ready kind = 0x80
)

var kindNames = [...]string{
	countKind: "count", sumKind: "sum", meanKind: "mean", minKind: "min", maxKind: "max", distinctKind: "distinct",
	quantilesKind: "quantiles", firstKind: "first", lastKind: "last", topKind: "top", listKind: "list", reduceKind: "reduce",
}

// object reports whether the value is not one number.
func (k kind) object() bool { return k >= distinctKind && k <= reduceKind }

// Values is the value of [All]: what each part has, in order. Numbers need no memory besides it. Its JSON is
// an object in the order of the parts, {"count":3,"mean":2.5,"max":9}; the second part of a kind is called
// max_2, and so on.
type Values struct {
	kinds [MaxParts]kind // noKind behind the last
	count int64          // of events, which every part saw
	nums  [MaxParts]float64
	objs  *objects // never changed; nil when there are none
}

// All composes ready-made aggregates, 1 to [MaxParts] of them, into one whose value has those of all. An event that one
// of them refuses changes none. Parts that are no numbers ([DistinctCount] and all that follow in
// the list of this package) are copied for each event, and stored as JSON where their type is the user's.
func All[E any](parts ...Composable[E]) Aggregate[E, Values] {
	var zero Values
	var errs []error
	if len(parts) == 0 || len(parts) > MaxParts {
		errs = append(errs, fmt.Errorf("All takes 1 to %d aggregates, not %d: make a Fold of your own for more", MaxParts, len(parts)))
	}
	of := make([]part[E], min(len(parts), MaxParts))
	for i := range of {
		of[i] = parts[i].asPart()
		zero.kinds[i] = of[i].kind
		switch {
		case of[i].kind == noKind:
			errs = append(errs, fmt.Errorf("part %d of All is no ready-made aggregate: make a Fold of your own for it", i+1))
		case of[i].fault != nil:
			errs = append(errs, fmt.Errorf("part %d of All: %w", i+1, of[i].fault))
		}
	}
	return Aggregate[E, Values]{
		Init:  func() Values { return zero },
		Fold:  func(v Values, event E) (Values, error) { return foldAll(v, zero.kinds, of, event) },
		Merge: func(a, b Values) (Values, error) { return mergeAll(a, b, zero.kinds, of) },
		parts: partNames(zero.kinds),
		fault: errors.Join(errs...),
	}
}

func foldAll[E any](v Values, kinds [MaxParts]kind, parts []part[E], event E) (Values, error) {
	if v.kinds != kinds {
		return v, errOtherParts(v.kinds, kinds)
	}
	var objs *objects
	for i := range parts {
		switch {
		case parts[i].kind == countKind:
			continue
		case parts[i].kind.object():
			objs = v.ownObjects(objs)
			o, err := parts[i].fold(objs[i], event)
			if err != nil {
				return v, err
			}
			objs[i] = o
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
	if objs != nil {
		v.objs = objs
	}
	v.count++
	return v, nil
}

// ownObjects returns a copy of the objects, once.
func (v *Values) ownObjects(own *objects) *objects {
	if own != nil {
		return own
	}
	own = new(objects)
	if v.objs != nil {
		*own = *v.objs
	}
	return own
}

func mergeAll[E any](a, b Values, kinds [MaxParts]kind, parts []part[E]) (Values, error) {
	switch {
	case b.count == 0:
		return a, nil
	case a.count == 0:
		return b, nil
	case a.kinds != kinds:
		return a, errOtherParts(a.kinds, kinds)
	case b.kinds != kinds:
		return a, errOtherParts(b.kinds, kinds)
	}
	var objs *objects
	for i, k := range a.kinds {
		if k == noKind || k == countKind {
			continue
		}
		if k.object() {
			objs = a.ownObjects(objs)
			o, err := parts[i].merge(objs[i], b.ownObjects(b.objs)[i])
			if err != nil {
				return a, err
			}
			objs[i] = o
			continue
		}
		if err := a.take(i, b.nums[i]); err != nil {
			return a, err
		}
	}
	if objs != nil {
		a.objs = objs
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
// count as a float64, and the least of no events as 0. Of a [Distinct] it is the count, of a [Distribution] the
// median, and NaN of other parts that are no number: [Part] returns those. It panics when there is no such part.
func (v Values) At(i int) float64 {
	switch v.kinds[i] {
	case noKind:
		panic(fmt.Sprintf("handlers: Values has %d parts, and part %d was asked for", v.Len(), i))
	case countKind:
		return float64(v.count)
	case meanKind:
		return Average{v.nums[i], v.count}.Mean()
	}
	if v.kinds[i].object() {
		return v.number(i)
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
		n, err := v.partJSON(i)
		if err != nil {
			return nil, err
		}
		b = append(b, n...)
	}
	return append(b, '}'), nil
}

func (v Values) partJSON(i int) ([]byte, error) {
	switch {
	case !v.kinds[i].object():
		return json.Marshal(v.At(i))
	case v.objs == nil || v.objs[i] == nil:
		return []byte("null"), nil
	}
	return v.objs[i].MarshalJSON()
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
		var raw json.RawMessage
		switch {
		case k == countKind:
			into = &v.count
		case k.object():
			into = &raw
		}
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("read an aggregate: %q: %w", name, err)
		}
		if k.object() && string(raw) != "null" {
			v.objs = v.ownObjects(v.objs)
			v.objs[i] = unread(raw)
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
