package handlers

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/pondage/pondage/stateful"
)

// object is the value of a part of [All] that is not one number. It is never changed.
type object interface {
	json.Marshaler
	appendState(b []byte) ([]byte, error)
}

// objects are the objects of a [Values], nil where there was no event or where the part is a number.
type objects [MaxParts]object

// boxed is an object of a known type.
type boxed[A any] struct{ v A }

// MarshalJSON implements [json.Marshaler].
func (o *boxed[A]) MarshalJSON() ([]byte, error) { return stateful.JSONCodec{}.Append(nil, &o.v) }

// appendState writes JSON for values of types that are not known where they are read.
func (o *boxed[A]) appendState(b []byte) ([]byte, error) {
	switch v := any(&o.v).(type) {
	case *Distinct:
		return v.AppendBinary(b)
	case *Distribution:
		return v.AppendBinary(b)
	}
	return stateful.JSONCodec{}.Append(b, &o.v)
}

// unread is an object whose type was not known where it was read: its JSON.
type unread []byte

// MarshalJSON implements [json.Marshaler].
func (o unread) MarshalJSON() ([]byte, error) { return o, nil }

func (o unread) appendState(b []byte) ([]byte, error) { return append(b, o...), nil }

func readObject(k kind, b []byte) (object, error) {
	switch k {
	case distinctKind:
		o := new(boxed[Distinct])
		return o, o.v.UnmarshalBinary(b)
	case quantilesKind:
		o := new(boxed[Distribution])
		return o, o.v.UnmarshalBinary(b)
	}
	if !json.Valid(b) {
		return nil, errStateShort
	}
	return append(unread(nil), b...), nil
}

// unbox returns the value of an object.
func unbox[A any](o object) (v A, err error) {
	switch o := o.(type) {
	case *boxed[A]:
		return o.v, nil
	case unread:
		err = stateful.JSONCodec{}.Decode(o, &v)
	default:
		err = fmt.Errorf("it is a %T", o)
	}
	if err != nil {
		err = stateful.TaskFault(fmt.Errorf("read a part of All as %T: %w", v, err))
	}
	return v, err
}

// partOf makes a part of [All] of an aggregate whose value is an object.
func partOf[E, A any](k kind, a Aggregate[E, A]) part[E] {
	p := part[E]{kind: k, fault: a.fault}
	if k.object() && k != distinctKind && k != quantilesKind && p.fault == nil {
		_, p.fault = stateful.NewStateCodec(stateful.StateCodecConfig[A]{Format: stateful.JSON})
	}
	p.fold = func(old object, event E) (object, error) {
		var v A
		var err error
		switch {
		case old != nil:
			v, err = unbox[A](old)
		case a.Init != nil:
			v = a.Init()
		}
		if err == nil {
			v, err = a.Fold(v, event)
		}
		return &boxed[A]{v}, err
	}
	p.merge = func(x, y object) (object, error) {
		if x == nil || y == nil {
			if x == nil {
				return y, nil
			}
			return x, nil
		}
		v, err := unbox[A](x)
		if err != nil {
			return x, err
		}
		w, err := unbox[A](y)
		if err != nil {
			return x, err
		}
		v, err = a.Merge(v, w)
		return &boxed[A]{v}, err
	}
	return p
}

// Part returns part i of v, counted from 0, as the value of the aggregate that was given to [All]: Part[handlers.Distinct](v, 1).
// It panics when there is no such part, and returns an error when that one has another type.
func Part[A any](v Values, i int) (A, error) {
	if k := v.kinds[i]; !k.object() {
		n, ok := any(v.At(i)).(A)
		if !ok {
			return n, fmt.Errorf("part %d of All is the number of %s", i, kindNames[k&^ready])
		}
		return n, nil
	}
	if v.objs == nil || v.objs[i] == nil {
		var none A
		return none, nil
	}
	return unbox[A](v.objs[i])
}

// number returns what an object comes down to.
func (v Values) number(i int) float64 {
	if v.objs == nil {
		return math.NaN()
	}
	switch o := v.objs[i].(type) {
	case *boxed[Distinct]:
		return float64(o.v.Count())
	case *boxed[Distribution]:
		return o.v.Quantile(0.5)
	case unread: // from JSON
		var n float64
		if json.Unmarshal(o, &n) == nil {
			return n
		}
		var p struct{ P50 *float64 }
		if json.Unmarshal(o, &p) == nil && p.P50 != nil {
			return *p.P50
		}
	}
	return math.NaN()
}
