package handlers_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
)

func number(n float64) float64 { return n }

// folded folds numbers one by one, then splits them in two and merges, and wants both to
// give the same JSON.
func folded[A any](t *testing.T, a handlers.Aggregate[float64, A], numbers ...float64) (A, string) {
	t.Helper()
	fold := func(numbers []float64) A {
		var v A
		if a.Init != nil {
			v = a.Init()
		}
		for _, n := range numbers {
			var err error
			if v, err = a.Fold(v, n); err != nil {
				t.Fatal(err)
			}
		}
		return v
	}
	whole := fold(numbers)
	merged, err := a.Merge(fold(numbers[:len(numbers)/2]), fold(numbers[len(numbers)/2:]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := json.Marshal(merged); string(m) != string(b) {
		t.Errorf("merged %s, folded %s", m, b)
	}
	return whole, string(b)
}

func TestAggregates(t *testing.T) {
	numbers := []float64{4, -2, 7, 0}
	for _, tt := range []struct {
		name string
		got  func(*testing.T) string
		want string
	}{
		{"count", func(t *testing.T) string { _, s := folded(t, handlers.Count[float64](), numbers...); return s }, "4"},
		{"sum", func(t *testing.T) string { _, s := folded(t, handlers.Sum(number), numbers...); return s }, "9"},
		{"min", func(t *testing.T) string { _, s := folded(t, handlers.Min(number), numbers...); return s }, "-2"},
		{"max", func(t *testing.T) string { _, s := folded(t, handlers.Max(number), numbers...); return s }, "7"},
		{
			"the greatest of negative numbers is negative",
			func(t *testing.T) string { _, s := folded(t, handlers.Max(number), -3, -2); return s }, "-2",
		},
		{
			"of equals the least is the first", func(t *testing.T) string { _, s := folded(t, handlers.Min(number), 0, math.Copysign(0, -1)); return s }, "0",
		},
		{
			"and so is the greatest", func(t *testing.T) string { _, s := folded(t, handlers.Max(number), math.Copysign(0, -1), 0); return s }, "-0",
		},
		{
			"mean is sum by count", func(t *testing.T) string { _, s := folded(t, handlers.Mean(number), numbers...); return s },
			`{"mean":2.25,"sum":9,"count":4}`,
		},
		{"all, in their order", func(t *testing.T) string {
			_, s := folded(t, handlers.All(handlers.Max(number), handlers.Count[float64](), handlers.Mean(number),
				handlers.Min(number), handlers.Sum(number), handlers.Max(func(n float64) float64 { return -n })), numbers...)
			return s
		}, `{"max":7,"count":4,"mean":2.25,"min":-2,"sum":9,"max_2":2}`},
		{"all, begun with the first event", func(t *testing.T) string {
			_, s := folded(t, handlers.All(handlers.Min(number), handlers.Max(func(n float64) float64 { return -n })), 3, 2)
			return s
		}, `{"min":2,"max":-2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got(t); got != tt.want {
				t.Errorf("JSON %s, want %s", got, tt.want)
			}
		})
	}
}

func TestValuesComeBackFromJSON(t *testing.T) {
	v, s := folded(t, handlers.All(handlers.Count[float64](), handlers.Mean(number), handlers.Max(number)), 0.1, 0.2, 0.4)
	var got handlers.Values
	if err := json.Unmarshal([]byte(s), &got); err != nil {
		t.Fatal(err)
	}
	for i := range v.Len() {
		if got.At(i) != v.At(i) {
			t.Errorf("part %d is %v, want %v", i, got.At(i), v.At(i))
		}
	}
	if again, err := json.Marshal(got); err != nil || string(again) != s {
		t.Errorf("written again it is %s (%v), want %s", again, err, s)
	}
	for _, bad := range []string{`3`, `{"median":3}`, `{"count":"x"}`, `{"count":1`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s was taken for an aggregate", bad)
		}
	}
}

func TestNumbersThatAreNoneChangeNothing(t *testing.T) {
	inf := math.Inf(1)
	for _, bad := range []float64{math.NaN(), inf, -inf} {
		for name, fold := range map[string]func() error{
			"sum":  func() error { _, err := handlers.Sum(number).Fold(1, bad); return err },
			"mean": func() error { _, err := handlers.Mean(number).Fold(handlers.Average{}, bad); return err },
			"min":  func() error { _, err := handlers.Min(number).Fold(1, bad); return err },
			"max":  func() error { _, err := handlers.Max(number).Fold(1, bad); return err },
			"all": func() error {
				all := handlers.All(handlers.Count[float64](), handlers.Max(number))
				_, err := all.Fold(all.Init(), bad)
				return err
			},
		} {
			if err := fold(); !stateful.IsPermanent(err) {
				t.Errorf("%s of %v: %v, want a permanent error", name, bad, err)
			}
		}
	}
	if _, err := handlers.Sum(number).Fold(math.MaxFloat64, math.MaxFloat64); !stateful.IsPermanent(err) {
		t.Errorf("a sum beyond float64: %v, want a permanent error", err)
	}
}

func TestAllOfOtherPartsIsNotTakenForThese(t *testing.T) {
	old := handlers.All(handlers.Count[float64](), handlers.Max(number))
	v, err := old.Fold(old.Init(), 3)
	if err != nil {
		t.Fatal(err)
	}
	_, err = handlers.All(handlers.Count[float64](), handlers.Min(number)).Fold(v, 3)
	if err == nil || !strings.Contains(err.Error(), "All(count, max)") || !strings.Contains(err.Error(), "State.Version") {
		t.Errorf("Fold = %v, want an error that names what is stored and the way out", err)
	}
}

func TestAllInAWindowSurvivesARestart(t *testing.T) {
	n := func(e event) float64 { return e.N }
	e := newEngine(t, handlers.Window[event, handlers.Values]{
		Name: "all", From: "events", To: "counts", Key: func(e event) string { return e.Key },
		Time:      func(e event) time.Time { return time.UnixMilli(e.At) },
		Windows:   counting().Windows,
		Aggregate: handlers.All(handlers.Count[event](), handlers.Mean(n), handlers.Max(n)),
	})
	e.send(at("a@4", "a@5")...)
	e.restart()
	e.send(at("a@9", "a@10")...)
	if got, want := e.brief(), []string{`a 0-10 {"count":3,"mean":6,"max":9}`}; !slices.Equal(got, want) {
		t.Errorf("published %q, want %q", got, want)
	}
}
