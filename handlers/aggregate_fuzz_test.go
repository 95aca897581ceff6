package handlers_test

import (
	"bytes"
	"encoding"
	"fmt"
	"testing"

	"github.com/pondage/pondage/handlers"
)

// state is an aggregate's value as it is stored.
type state interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// What is encoded is decoded to the same, no bytes make decoding panic, and what was decoded can be used.
func FuzzAggregateState(f *testing.F) {
	text := func(n float64) string { return fmt.Sprint(n) }
	distinct, quantiles := handlers.DistinctCount(text), handlers.Quantiles(number, 0.01)
	all := handlers.All(handlers.Count[float64](), handlers.Mean(number), distinct, quantiles, handlers.List(9, text))
	var d handlers.Distinct
	q, v := quantiles.Init(), all.Init()
	for n := range 2000 {
		d, _ = distinct.Fold(d, float64(n))
		q, _ = quantiles.Fold(q, float64(n-300))
		if n == 3 {
			v, _ = all.Fold(v, 4)
			for _, s := range []state{&d, &q, &v, &handlers.Average{Sum: 1, Count: 2}} {
				b, _ := s.AppendBinary(nil)
				f.Add(b)
			}
		}
	}
	b, _ := d.AppendBinary(nil)
	f.Add(b)
	b, _ = q.AppendBinary(nil)
	f.Add(b)
	f.Add([]byte{7, 1, 2, 3, 4, 5, 1, 2})
	f.Add([]byte{200})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, pair := range [][2]state{
			{new(handlers.Values), new(handlers.Values)},
			{new(handlers.Average), new(handlers.Average)},
			{new(handlers.Distinct), new(handlers.Distinct)},
			{new(handlers.Distribution), new(handlers.Distribution)},
			{new(handlers.Items[string]), new(handlers.Items[string])},
		} {
			v, again := pair[0], pair[1]
			if v.UnmarshalBinary(b) != nil {
				continue
			}
			out, err := v.AppendBinary(nil)
			if err == nil {
				err = again.UnmarshalBinary(out)
			}
			if err != nil {
				t.Fatalf("%T of %x cannot be stored and read again: %v", v, b, err)
			}
			if second, err := again.AppendBinary(nil); err != nil || !bytes.Equal(second, out) {
				t.Errorf("%T: %x came back as %x (%v)", v, out, second, err)
			}
			switch v := v.(type) {
			case *handlers.Distinct:
				if w, err := distinct.Fold(*v, 1); err == nil {
					w.Count()
				}
			case *handlers.Distribution:
				v.Percentiles()
				if w, err := quantiles.Fold(*v, 1); err == nil {
					w.Percentiles()
				}
			case *handlers.Values:
				for i := range v.Len() {
					v.At(i)
				}
				_, _ = all.Fold(*v, 1)
			}
		}
	})
}
