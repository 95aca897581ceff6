package handlers

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pondage/pondage/stateful"
)

// Picked is the value of [First] and [Last]. At is the zero time when there was no event.
type Picked[T any] struct {
	At    time.Time `json:"at"`
	Value T         `json:"value"`
}

// First keeps of(event) of the event that happened first, by at; of several at one time that which came
// first.
func First[E, T any](at func(E) time.Time, of func(E) T) Aggregate[E, Picked[T]] {
	return pick("First", firstKind, at, of, func(a, b time.Time) bool { return b.Before(a) })
}

// Last keeps of(event) of the event that happened last, by at; of several at one time that which came
// last.
func Last[E, T any](at func(E) time.Time, of func(E) T) Aggregate[E, Picked[T]] {
	return pick("Last", lastKind, at, of, func(a, b time.Time) bool { return !b.Before(a) })
}

// pick keeps the one that no other replaces. replaces says whether one at b, that came later, replaces one at a.
func pick[E, T any](name string, k kind, at func(E) time.Time, of func(E) T, replaces func(a, b time.Time) bool) Aggregate[E, Picked[T]] {
	take := func(a, b Picked[T]) (Picked[T], error) {
		if a.At.IsZero() || !b.At.IsZero() && replaces(a.At, b.At) {
			return b, nil
		}
		return a, nil
	}
	a := Aggregate[E, Picked[T]]{
		Fold: func(p Picked[T], event E) (Picked[T], error) {
			ts := at(event).Round(0).UTC()
			if ts.IsZero() {
				return p, stateful.Permanent(errors.New("the event's time is the zero time.Time: it was never set"))
			}
			if !p.At.IsZero() && !replaces(p.At, ts) {
				return p, nil
			}
			return Picked[T]{ts, of(event)}, nil
		},
		Merge: take,
	}
	if at == nil || of == nil {
		a.fault = fmt.Errorf("%s needs a function that returns the event's time and one that returns what to keep", name)
	}
	a.part = partOf(k, a)
	return a
}

// Reduced is the value of [Reduce]: Value is that of no event while Count is 0.
type Reduced[T any] struct {
	Value T     `json:"value"`
	Count int64 `json:"count"` // of events
}

// Reduce combines of(event) of all events by f, in the order of arrival; the first is taken as it is. f must be pure and
// associative, and must not change its arguments in place. How large the value becomes is up to f.
func Reduce[E, T any](of func(E) T, f func(a, b T) (T, error)) Aggregate[E, Reduced[T]] {
	join := func(a, b Reduced[T]) (Reduced[T], error) {
		switch {
		case a.Count == 0:
			return b, nil
		case b.Count == 0:
			return a, nil
		}
		v, err := f(a.Value, b.Value)
		if err != nil {
			return a, err
		}
		return Reduced[T]{v, a.Count + b.Count}, nil
	}
	a := Aggregate[E, Reduced[T]]{
		Fold:  func(r Reduced[T], event E) (Reduced[T], error) { return join(r, Reduced[T]{of(event), 1}) },
		Merge: join,
	}
	if of == nil || f == nil {
		a.fault = errors.New("Reduce needs a function that returns the event's value and one that combines two")
	}
	a.part = partOf(reduceKind, a)
	return a
}

// MaxTop is how many values [TopK] keeps at most.
const MaxTop = 10_000

// TopK keeps the k greatest of(event) as compare has it, the greatest first and of equals those which came first: 1 to [MaxTop]
// of them. An event that is among them costs a copy of the list. Less than 0 from compare means that a is the smaller one.
func TopK[E, T any](k int, of func(E) T, compare func(a, b T) int) Aggregate[E, []T] {
	// at returns where v belongs behind all that are not smaller.
	at := func(top []T, v T) int {
		i, _ := slices.BinarySearchFunc(top, v, func(has, v T) int {
			if compare(has, v) < 0 {
				return 1
			}
			return -1
		})
		return i
	}
	a := Aggregate[E, []T]{
		Fold: func(top []T, event E) ([]T, error) {
			v := of(event)
			i := at(top, v)
			if i == k {
				return top, nil
			}
			next := make([]T, 0, min(k, len(top)+1))
			next = append(append(next, top[:i]...), v)
			return append(next, top[i:min(len(top), k-1)]...), nil
		},
		Merge: func(a, b []T) ([]T, error) {
			merged := make([]T, 0, min(k, len(a)+len(b)))
			for len(merged) < k && len(a)+len(b) > 0 {
				if len(b) == 0 || len(a) > 0 && compare(a[0], b[0]) >= 0 {
					merged, a = append(merged, a[0]), a[1:]
				} else {
					merged, b = append(merged, b[0]), b[1:]
				}
			}
			return merged, nil
		},
	}
	if k < 1 || k > MaxTop {
		a.fault = fmt.Errorf("TopK keeps 1 to %d values, not %d", MaxTop, k)
	} else if of == nil || compare == nil {
		a.fault = errors.New("TopK needs a function that returns the event's value and one that compares two")
	}
	a.part = partOf(topKind, a)
	return a
}
