package main

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
)

// codecs compares a round trip of window values with encoding/json.
func codecs(e *env) error {
	e.printf("\ncodec: a window's value to stored bytes and back, against encoding/json; to reach: 10x\n")
	all := handlers.All(handlers.Count[event](),
		handlers.Mean(func(e event) float64 { return float64(e.Amount) }),
		handlers.Max(func(e event) float64 { return float64(e.Amount) }))
	v := all.Init()
	for i := range 10 {
		var err error
		if v, err = all.Fold(v, event{Amount: int64(i) * 997}); err != nil {
			return err
		}
	}
	return errors.Join(
		roundTrip(e, "count", int64(1234)),
		roundTrip(e, "count, mean and maximum", v))
}

func roundTrip[T any](e *env, name string, v T) error {
	c, err := stateful.NewStateCodec(stateful.StateCodecConfig[T]{})
	if err != nil {
		return err
	}
	n := max(int(1_000_000*min(e.o.scale, 1)), minEvents)
	var ours, theirs []float64
	var buf, text []byte
	for range e.o.repeats {
		var back T
		t0 := time.Now()
		for range n {
			if buf, err = c.Append(buf[:0], &v, stateful.NoExpiry); err != nil {
				return err
			}
			if _, err = c.Decode(buf, &back); err != nil {
				return err
			}
		}
		ours = append(ours, float64(time.Since(t0))/float64(n))
		t0 = time.Now()
		for range n {
			if text, err = json.Marshal(&v); err != nil {
				return err
			}
			if err = json.Unmarshal(text, &back); err != nil {
				return err
			}
		}
		theirs = append(theirs, float64(time.Since(t0))/float64(n))
	}
	e.printf("  %s: %.0f ns and %d bytes; json %.0f ns and %d bytes: %.1fx\n", name,
		median(ours), len(buf), median(theirs), len(text), median(theirs)/median(ours))
	return nil
}
