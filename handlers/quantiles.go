package handlers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"

	"github.com/pondage/pondage/stateful"
)

// maxBins is how many bins a sketch has at most, for the positive and for the negative numbers. With an
// accuracy of 1 % they span 17 decimal powers.
const maxBins = 2048

// Quantiles keeps the distribution of of(event) such that any quantile can be asked for: by DDSketch, with a relative
// error of at most accuracy, which is between 0.001 and 0.5; 0 means 0.01. It keeps at most 2,048 bins of 8 bytes for positive numbers and as many for
// negative ones; when their range asks for more, those nearest to 0 are counted as one. What is stored
// depends on the numbers alone, in whatever order and batches they came. NaN and
// infinities are permanent errors.
func Quantiles[E any](of func(E) float64, accuracy float64) Aggregate[E, Distribution] {
	if accuracy == 0 {
		accuracy = 0.01
	}
	none, fault := noSpread(accuracy)
	a := Aggregate[E, Distribution]{
		Init: func() Distribution { return Distribution{base: none} },
		Fold: func(d Distribution, event E) (Distribution, error) {
			n, err := finite(of(event))
			if err == nil {
				d, err = d.with(n, accuracy)
			}
			return d, err
		},
		Merge: Distribution.merge,
		fault: errors.Join(numberFault("Quantiles", of), fault),
	}
	a.part = partOf(quantilesKind, a)
	return a
}

// Distribution is the value of [Quantiles]. Its JSON is that of its [Percentiles]; it is not read from JSON.
type Distribution struct {
	base *spread // never changed; nil: there is nothing
	tail tail[float64]
}

// spread is a sketch.
type spread struct {
	accuracy float64
	*ddsketch.DDSketch
}

// Percentiles are what is most often asked of a [Distribution], each with its relative error.
type Percentiles struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func noSpread(accuracy float64) (*spread, error) {
	if !(accuracy >= 0.001 && accuracy <= 0.5) {
		return nil, fmt.Errorf("the accuracy of Quantiles is %v: it must be between 0.001 and 0.5", accuracy)
	}
	m, err := mapping.NewLogarithmicMapping(accuracy)
	if err != nil {
		return nil, err
	}
	return &spread{accuracy, ddsketch.NewDDSketch(m, store.NewCollapsingLowestDenseStore(maxBins), store.NewCollapsingLowestDenseStore(maxBins))}, nil
}

func (d Distribution) with(n, accuracy float64) (Distribution, error) {
	switch {
	case d.base == nil:
		return d, stateful.TaskFault(errors.New("the Distribution has no accuracy: begin with the Init of Quantiles"))
	case d.base.accuracy != accuracy:
		return d, errOtherAccuracy(d.base.accuracy, accuracy)
	case math.Abs(n) > d.base.MaxIndexableValue():
		return d, stateful.Permanent(fmt.Errorf("the event's number %v is beyond what Quantiles takes, %v: scale the numbers down", n, d.base.MaxIndexableValue()))
	}
	if d.tail = d.tail.with(n); d.tail.n == maxTail {
		d = Distribution{base: d.settled()}
	}
	return d, nil
}

func errOtherAccuracy(stored, now float64) error {
	return stateful.TaskFault(fmt.Errorf("the stored Quantiles have an accuracy of %v and the handler has %v: "+
		"set it back, or give the handler another Name", stored, now))
}

// settled returns the sketch with what waits in the tail.
func (d Distribution) settled() *spread {
	if d.tail.n == 0 {
		return d.base
	}
	s := &spread{d.base.accuracy, d.base.Copy()}
	for _, n := range d.tail.items() {
		_ = s.Add(n) // with has looked at it
	}
	return s
}

func (d Distribution) merge(o Distribution) (Distribution, error) {
	a, b := d.settled(), o.settled()
	switch {
	case b == nil:
		return d, nil
	case a == nil:
		return o, nil
	case a.accuracy != b.accuracy:
		return d, errOtherAccuracy(b.accuracy, a.accuracy)
	}
	s := &spread{a.accuracy, a.Copy()}
	if err := s.MergeWith(b.DDSketch); err != nil {
		return d, err
	}
	return Distribution{base: s}, nil
}

// Count returns how many numbers there are.
func (d Distribution) Count() int64 {
	if d.base == nil {
		return 0
	}
	return int64(d.base.GetCount()) + int64(d.tail.n)
}

// Quantile returns the number below which the share q of all lies: 0.5 is the median. It is NaN when there
// are no numbers, or when q is not between 0 and 1.
func (d Distribution) Quantile(q float64) float64 {
	s := d.settled()
	if s == nil {
		return math.NaN()
	}
	return s.quantile(q)
}

func (s *spread) quantile(q float64) float64 {
	n, err := s.GetValueAtQuantile(q)
	if err != nil {
		return math.NaN()
	}
	return n
}

// Percentiles returns some quantiles, all 0 when there are no numbers.
func (d Distribution) Percentiles() Percentiles {
	s := d.settled()
	if s == nil || s.IsEmpty() {
		return Percentiles{}
	}
	return Percentiles{
		Count: d.Count(), Min: s.quantile(0),
		P50: s.quantile(0.5), P90: s.quantile(0.9), P95: s.quantile(0.95), P99: s.quantile(0.99),
		Max: s.quantile(1),
	}
}

// MarshalJSON implements [json.Marshaler].
func (d Distribution) MarshalJSON() ([]byte, error) { return json.Marshal(d.Percentiles()) }

// UnmarshalJSON implements [json.Unmarshaler]. It fails, for JSON has only some quantiles.
func (d *Distribution) UnmarshalJSON([]byte) error {
	return errors.New("a Distribution cannot be read from JSON: read it into Percentiles, and leave State.Format at Auto")
}
