package handlers

import (
	"errors"
	"fmt"
	"math"

	"github.com/pondage/pondage/stateful"
)

// Aggregate folds the events E of a window into one value A. Its functions must be
// pure: they may be called again for the same event after a failure.
//
// A ready-made one comes from [Count], [Sum], [Mean], [Min], [Max], [DistinctCount], [Quantiles], [First], [Last], [TopK],
// [List], [Reduce], or [All], which composes them. An own one needs Fold; the rest may be left out.
type Aggregate[E, A any] struct {
	// Init returns the value of a window without events. Defaults to the zero value.
	Init func() A
	// Fold returns the value with one more event. It must not change memory that the
	// value it was given refers to: that value comes back when the event fails.
	Fold func(value A, event E) (A, error)
	// Merge returns the value of the events of both; those of b come later in time. It must be associative, and
	// must not change memory that its arguments refer to: they may be merged again.
	Merge func(a, b A) (A, error)

	part  part[E]
	parts string // of All: the names of their kinds
	fault error
}

// part is a ready-made aggregate as a part of [All]: a number, or an object.
type part[E any] struct {
	kind  kind
	fault error
	of    func(E) float64
	fold  func(old object, event E) (object, error)
	merge func(a, b object) (object, error)
}

func (a Aggregate[E, A]) asPart() part[E] { return a.part }

// Composable is satisfied by the aggregates that [All] composes.
type Composable[E any] interface{ asPart() part[E] }

// Count counts events.
func Count[E any]() Aggregate[E, int64] {
	return Aggregate[E, int64]{
		Fold:  func(n int64, _ E) (int64, error) { return n + 1, nil },
		Merge: func(a, b int64) (int64, error) { return a + b, nil },
		part:  part[E]{kind: countKind},
	}
}

// Sum adds up of(event) in the order of arrival, in float64: whole numbers are exact
// up to 2^53. An event whose number is NaN or infinite, or that would make the sum infinite,
// is a permanent error: it changes nothing.
func Sum[E any](of func(E) float64) Aggregate[E, float64] {
	return Aggregate[E, float64]{
		Fold: func(sum float64, event E) (float64, error) {
			n, err := finite(of(event))
			if err != nil {
				return sum, err
			}
			return add(sum, n)
		},
		Merge: add,
		part:  numberPart(sumKind, "Sum", of),
		fault: numberFault("Sum", of),
	}
}

// Mean is the arithmetic mean, [Sum] divided by the number of events. The numbers that Sum
// refuses are refused here too.
func Mean[E any](of func(E) float64) Aggregate[E, Average] {
	return Aggregate[E, Average]{
		Fold: func(a Average, event E) (Average, error) {
			n, err := finite(of(event))
			if err != nil {
				return a, err
			}
			return a.plus(Average{Sum: n, Count: 1})
		},
		Merge: Average.plus,
		part:  numberPart(meanKind, "Mean", of),
		fault: numberFault("Mean", of),
	}
}

// Min is the least of(event). NaN and infinities are permanent errors; -0 and 0 are equal, and the
// first to come stays.
func Min[E any](of func(E) float64) Aggregate[E, float64] {
	return extreme(numberPart(minKind, "Min", of), math.Inf(1), lesser)
}

// Max is the greatest of(event), with the rules of [Min].
func Max[E any](of func(E) float64) Aggregate[E, float64] {
	return extreme(numberPart(maxKind, "Max", of), math.Inf(-1), greater)
}

func extreme[E any](p part[E], none float64, pick func(a, b float64) float64) Aggregate[E, float64] {
	return Aggregate[E, float64]{
		Init: func() float64 { return none },
		Fold: func(best float64, event E) (float64, error) {
			n, err := finite(p.of(event))
			if err != nil {
				return best, err
			}
			return pick(best, n), nil
		},
		Merge: func(a, b float64) (float64, error) { return pick(a, b), nil },
		part:  p,
		fault: p.fault,
	}
}

func lesser(a, b float64) float64 {
	if b < a {
		return b
	}
	return a
}

func greater(a, b float64) float64 {
	if b > a {
		return b
	}
	return a
}

func numberPart[E any](k kind, name string, of func(E) float64) part[E] {
	return part[E]{kind: k, of: of, fault: numberFault(name, of)}
}

func numberFault[E any](name string, of func(E) float64) error {
	if of == nil {
		return fmt.Errorf("%s needs a function that returns the event's number", name)
	}
	return nil
}

func finite(n float64) (float64, error) {
	if n-n != 0 { // NaN and the infinities alone
		return 0, stateful.Permanent(fmt.Errorf("the event's number is %v: aggregates take finite numbers", n))
	}
	return n, nil
}

func add(a, b float64) (float64, error) {
	sum := a + b
	if sum-sum != 0 {
		return a, stateful.Permanent(errors.New("the sum leaves the range of float64 (about 1.8e308): scale the numbers down"))
	}
	return sum, nil
}
