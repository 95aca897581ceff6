package handlers_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
)

// sample is an event of the laws.
type sample struct {
	At    int64
	Word  string
	Value float64
}

func sampleTime(s sample) time.Time      { return time.UnixMilli(s.At) }
func sampleWord(s sample) string         { return s.Word }
func sampleValue(s sample) float64       { return s.Value }
func sampleAt(s sample) float64          { return float64(s.At) }
func longer(a, b string) (string, error) { return a + b, nil }

func samples(rng *rand.Rand, n int) []sample {
	out := make([]sample, n)
	for i := range out {
		out[i] = sample{1 + rng.Int64N(50), fmt.Sprint("w", rng.IntN(3*n)), float64(rng.IntN(2000)-500) / 8}
		if rng.IntN(20) == 0 {
			out[i].Value *= 1e30
		}
	}
	return out
}

// law is what is asked of every aggregate. stored is how it is kept.
type law interface {
	check(t *testing.T, rng *rand.Rand)
}

type laws[A any] struct {
	handlers.Aggregate[sample, A]
	unordered bool // the order of events does not matter
	most      int  // events
}

func (l laws[A]) none() (v A) {
	if l.Init != nil {
		v = l.Init()
	}
	return v
}

func (l laws[A]) fold(t *testing.T, v A, events []sample) A {
	t.Helper()
	for _, e := range events {
		var err error
		if v, err = l.Fold(v, e); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func (l laws[A]) merge(t *testing.T, a, b A) A {
	t.Helper()
	v, err := l.Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (l laws[A]) codec(t *testing.T) *stateful.StateCodec[A] {
	t.Helper()
	c, err := stateful.NewStateCodec(stateful.StateCodecConfig[A]{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l laws[A]) stored(t *testing.T, v A) []byte {
	t.Helper()
	b, err := l.codec(t).Append(nil, &v, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (l laws[A]) same(t *testing.T, what string, got, want A) {
	t.Helper()
	if g, w := l.stored(t, got), l.stored(t, want); !bytes.Equal(g, w) {
		t.Errorf("%s:\n\t%.200x\nwant\n\t%.200x", what, g, w)
	}
}

func (l laws[A]) check(t *testing.T, rng *rand.Rand) {
	n := rng.IntN(l.most)
	events := samples(rng, n)
	i := rng.IntN(n + 1)
	j := i + rng.IntN(n+1-i)
	a, b, c := events[:i], events[i:j], events[j:]
	whole := l.fold(t, l.none(), events)
	fa, fb, fc := l.fold(t, l.none(), a), l.fold(t, l.none(), b), l.fold(t, l.none(), c)
	l.same(t, "merge(fold(a), fold(b ++ c)) is not fold(a ++ b ++ c)", l.merge(t, fa, l.fold(t, l.none(), events[i:])), whole)
	l.same(t, "merge is not associative", l.merge(t, l.merge(t, fa, fb), fc), l.merge(t, fa, l.merge(t, fb, fc)))
	l.same(t, "merging with nothing changes it", l.merge(t, l.none(), whole), whole)
	l.same(t, "merging nothing changes it", l.merge(t, whole, l.none()), whole)
	if n > 0 {
		l.same(t, "what was merged or folded has changed", fa, l.fold(t, l.none(), a))
	}

	// In whatever batches it comes: stored and read again in between.
	v := l.none()
	for k, e := range events {
		v = l.fold(t, v, []sample{e})
		if k > 0 && rng.IntN(1+n/5) == 0 {
			stored := l.stored(t, v)
			v = l.none()
			if _, err := l.codec(t).Decode(stored, &v); err != nil {
				t.Fatal(err)
			}
			if again := l.stored(t, v); !bytes.Equal(again, stored) {
				t.Errorf("read and stored again:\n\t%.200x\nwas\n\t%.200x", again, stored)
			}
		}
	}
	l.same(t, "the batches have changed it", v, whole)

	// A record that fails brings the old value back; whoever has the new one keeps it.
	other := samples(rng, 300)
	one := l.fold(t, fa, other[:min(len(other), l.most-1-i)])
	was := l.stored(t, one)
	l.same(t, "a value that was folded into once is another", l.fold(t, fa, events[i:]), whole)
	if now := l.stored(t, one); !bytes.Equal(now, was) {
		t.Errorf("a value has changed by what was folded into an older one:\n\t%.200x\nwas\n\t%.200x", now, was)
	}

	if l.unordered {
		shuffled := slices.Clone(events)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		l.same(t, "the order of events has changed it", l.fold(t, l.none(), shuffled), whole)
	}
}

func TestAggregateLaws(t *testing.T) {
	top := handlers.TopK(3, sampleValue, cmp.Compare[float64])
	for name, l := range map[string]law{
		"count":            laws[int64]{handlers.Count[sample](), true, 100},
		"distinct":         laws[handlers.Distinct]{handlers.DistinctCount(sampleWord), true, 1000},
		"distinct, many":   laws[handlers.Distinct]{handlers.DistinctCount(sampleWord), true, 4000},
		"quantiles":        laws[handlers.Distribution]{handlers.Quantiles(sampleValue, 0), true, 2000},
		"quantiles, rough": laws[handlers.Distribution]{handlers.Quantiles(sampleValue, 0.2), true, 2000},
		"first":            laws[handlers.Picked[string]]{handlers.First(sampleTime, sampleWord), false, 100},
		"last":             laws[handlers.Picked[string]]{handlers.Last(sampleTime, sampleWord), false, 100},
		"top":              laws[[]float64]{top, true, 100},
		"top, by word":     laws[[]string]{handlers.TopK(5, sampleWord, func(a, b string) int { return cmp.Compare(len(a), len(b)) }), false, 100},
		"list":             laws[handlers.Items[string]]{handlers.List(500, sampleWord), false, 500},
		"reduce":           laws[handlers.Reduced[string]]{handlers.Reduce(sampleWord, longer), false, 100},
		"all, numbers": laws[handlers.Values]{handlers.All(
			handlers.Count[sample](), handlers.Sum(sampleAt), handlers.Mean(sampleAt), handlers.Min(sampleAt),
			handlers.Max(func(s sample) float64 { return -sampleAt(s) }),
		), true, 100},
		"all": laws[handlers.Values]{handlers.All(
			handlers.DistinctCount(sampleWord), handlers.Quantiles(sampleValue, 0.05), handlers.First(sampleTime, sampleWord),
			handlers.Count[sample](), top, handlers.List(500, sampleWord), handlers.Reduce(sampleWord, longer),
		), false, 500},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(12) {
				l.check(t, rand.New(rand.NewPCG(seed, 3)))
			}
		})
	}
}

func TestMoreAggregates(t *testing.T) {
	numbers := []float64{4, -2, 7, 0, 7}
	text := func(n float64) string { return fmt.Sprint(n) }
	at := func(n float64) time.Time { return time.UnixMilli(1000 - int64(n)) }
	noon := func(float64) time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		name string
		got  func(*testing.T) string
		want string
	}{
		{"distinct", func(t *testing.T) string { _, s := folded(t, handlers.DistinctCount(text), numbers...); return s }, "4"},
		{"quantiles", func(t *testing.T) string {
			_, s := folded(t, handlers.Quantiles(number, 0.01), 10, 20, 30, 40, 50)
			return s
		}, `{"count":5,"min":10.07469668951132`},
		{"first", func(t *testing.T) string { _, s := folded(t, handlers.First(at, text), numbers...); return s }, `{"at":"1970-01-01T00:00:00.993Z","value":"7"}`},
		{"last", func(t *testing.T) string { _, s := folded(t, handlers.Last(at, text), numbers...); return s }, `{"at":"1970-01-01T00:00:01.002Z","value":"-2"}`},
		{"first of some at one time", func(t *testing.T) string { _, s := folded(t, handlers.First(noon, text), numbers...); return s }, `{"at":"2026-01-01T12:00:00Z","value":"4"}`},
		{"last of some at one time", func(t *testing.T) string { _, s := folded(t, handlers.Last(noon, text), 1, 2, 3); return s }, `{"at":"2026-01-01T12:00:00Z","value":"3"}`},
		{"top", func(t *testing.T) string {
			_, s := folded(t, handlers.TopK(3, number, cmp.Compare[float64]), numbers...)
			return s
		}, `[7,7,4]`},
		{"list", func(t *testing.T) string { _, s := folded(t, handlers.List(10, text), numbers...); return s }, `["4","-2","7","0","7"]`},
		{"reduce", func(t *testing.T) string { _, s := folded(t, handlers.Reduce(text, longer), numbers...); return s }, `{"value":"4-2707","count":5}`},
		{"reduce, begun with the first event", func(t *testing.T) string {
			_, s := folded(t, handlers.Reduce(number, func(a, b float64) (float64, error) { return a * b, nil }), 2, 3)
			return s
		}, `{"value":6,"count":2}`},
		{"all", func(t *testing.T) string {
			_, s := folded(t, handlers.All(handlers.DistinctCount(text), handlers.List(9, text), handlers.Max(number), handlers.Last(at, text), handlers.List(8, number)), 4, 7)
			return s
		}, `{"distinct":2,"list":["4","7"],"max":7,"last":{"at":"1970-01-01T00:00:00.996Z","value":"4"},"list_2":[4,7]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got(t); !strings.HasPrefix(got, tt.want) {
				t.Errorf("JSON %s, want %s", got, tt.want)
			}
		})
	}
}

// The sketches keep to the error that they promise.
func TestSketchesKeepTheirError(t *testing.T) {
	distinct := handlers.DistinctCount(func(n int) string { return fmt.Sprint(n) })
	quantiles := handlers.Quantiles(func(n int) float64 { return float64(n) }, 0.01)
	var d handlers.Distinct
	q := quantiles.Init()
	var err, err2 error
	for n := 1; n <= 100_000; n++ {
		if d, err = distinct.Fold(d, n); err != nil {
			t.Fatal(err)
		}
		if q, err2 = quantiles.Fold(q, n); err2 != nil {
			t.Fatal(err2)
		}
		if n == 1024 && d.Count() != 1024 {
			t.Errorf("1024 different values are counted as %d, want exactly", d.Count())
		}
	}
	if off := float64(d.Count())/100_000 - 1; max(off, -off) > 4*0.0081 {
		t.Errorf("100000 different values are counted as %d, off by %.3f", d.Count(), off)
	}
	for _, p := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 1} {
		want := 1 + p*99_999
		if got := q.Quantile(p); max(got/want, want/got) > 1.0101 {
			t.Errorf("quantile %v is %v, want %v within 1 %%", p, got, want)
		}
	}
	if q.Count() != 100_000 || q.Percentiles().Count != 100_000 {
		t.Errorf("%d numbers", q.Count())
	}
}

// What is stored stays below what is promised, whatever comes.
func TestSketchesAreBounded(t *testing.T) {
	distinct := handlers.DistinctCount(sampleWord)
	quantiles := handlers.Quantiles(sampleValue, 0.001)
	var d handlers.Distinct
	q := quantiles.Init()
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		d, _ = distinct.Fold(d, sample{Word: fmt.Sprint(i)})
		n := rng.NormFloat64()
		for range rng.IntN(6) {
			n *= 1e40
		}
		q, _ = quantiles.Fold(q, sample{Value: n})
	}
	if b, err := d.AppendBinary(nil); err != nil || len(b) > 17<<10 {
		t.Errorf("a Distinct is stored in %d bytes, %v", len(b), err)
	}
	if b, err := q.AppendBinary(nil); err != nil || len(b) > 2*2048*8 || q.Count() != 20_000 {
		t.Errorf("a Distribution of %d is stored in %d bytes, %v", q.Count(), len(b), err)
	}
}

func TestAggregatesRefuseWhatTheyCannotTake(t *testing.T) {
	inf := math.Inf(1)
	zeroTime := func(sample) time.Time { return time.Time{} }
	list := handlers.List(1, sampleWord)
	one, _ := list.Fold(handlers.Items[string]{}, sample{})
	q, rough := handlers.Quantiles(sampleValue, 0.01), handlers.Quantiles(sampleValue, 0.1)
	for name, tt := range map[string]struct {
		err       error
		permanent bool
		part      string
	}{
		"quantiles of an infinity":                      {second(q.Fold(q.Init(), sample{Value: inf})), true, "finite"},
		"quantiles of a number at the end of the range": {second(q.Fold(q.Init(), sample{Value: 1.79e308})), true, "scale the numbers down"},
		"quantiles of another accuracy":                 {second(q.Fold(rough.Init(), sample{})), false, "set it back"},
		"quantiles merged with others":                  {second(q.Merge(rough.Init(), q.Init())), false, "set it back"},
		"a time that was never set":                     {second(handlers.First(zeroTime, sampleWord).Fold(handlers.Picked[string]{}, sample{})), true, "never set"},
		"one too many":                                  {second(list.Fold(one, sample{})), true, "its limit is 1"},
		"one too many, merged":                          {second(list.Merge(one, one)), true, "its limit is 1"},
	} {
		if tt.err == nil || stateful.IsPermanent(tt.err) != tt.permanent || !strings.Contains(tt.err.Error(), tt.part) {
			t.Errorf("%s: %v, want an error with %q, permanent %v", name, tt.err, tt.part, tt.permanent)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func TestFaultsOfAggregatesAreNamed(t *testing.T) {
	type hidden struct{ n int } //nolint:unused // that is the point
	keep := func(sample) hidden { return hidden{} }
	refusedAll := func(part handlers.Composable[sample]) error {
		return handlers.Window[sample, handlers.Values]{Aggregate: handlers.All(part)}.Validate()
	}
	for _, tt := range []struct {
		err  error
		part string
	}{
		{handlers.Window[sample, handlers.Distinct]{Aggregate: handlers.DistinctCount[sample](nil)}.Validate(), "DistinctCount needs"},
		{handlers.Window[sample, handlers.Distribution]{Aggregate: handlers.Quantiles(sampleValue, 0.9)}.Validate(), "between 0.001 and 0.5"},
		{handlers.Window[sample, []string]{Aggregate: handlers.TopK(0, sampleWord, strings.Compare)}.Validate(), "TopK keeps 1 to"},
		{handlers.Window[sample, []string]{Aggregate: handlers.TopK(1, sampleWord, nil)}.Validate(), "TopK needs"},
		{handlers.Window[sample, handlers.Items[string]]{Aggregate: handlers.List(0, sampleWord)}.Validate(), "List needs"},
		{handlers.Window[sample, handlers.Items[hidden]]{Aggregate: handlers.List(1, keep)}.Validate(), "hidden"},
		{handlers.Window[sample, handlers.Picked[string]]{Aggregate: handlers.Last[sample, string](nil, nil)}.Validate(), "Last needs"},
		{handlers.Window[sample, handlers.Reduced[string]]{Aggregate: handlers.Reduce(sampleWord, nil)}.Validate(), "Reduce needs"},
		{refusedAll(handlers.First(sampleTime, keep)), "part 1 of All"},
		{refusedAll(handlers.DistinctCount[sample](nil)), "part 1 of All: DistinctCount needs"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.part) {
			t.Errorf("%v does not mention %q", tt.err, tt.part)
		}
	}
}

func TestPartsOfAll(t *testing.T) {
	all := handlers.All(handlers.Max(sampleValue), handlers.DistinctCount(sampleWord), handlers.List(9, sampleWord), handlers.Quantiles(sampleValue, 0))
	v := all.Init()
	if l, err := handlers.Part[handlers.Items[string]](v, 2); err != nil || l.Len() != 0 {
		t.Errorf("a list of no events is %v, %v", l, err)
	}
	var err error
	for i := range 3 {
		if v, err = all.Fold(v, sample{Word: fmt.Sprint(i), Value: float64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(v handlers.Values) {
		t.Helper()
		l, err := handlers.Part[handlers.Items[string]](v, 2)
		n, err2 := handlers.Part[float64](v, 0)
		if errors.Join(err, err2) != nil || !slices.Equal(l.All(), []string{"0", "1", "2"}) || n != 3 || v.At(1) != 3 || v.At(3) < 1.97 || v.At(3) > 2.03 || v.At(2) == v.At(2) {
			t.Errorf("%v %v %v %v, %v, %v", l.All(), n, v.At(1), v.At(3), err, err2)
		}
	}
	read(v)
	b, err := v.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var stored, fromJSON handlers.Values
	if err := stored.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	read(stored)
	j, err := v.MarshalJSON()
	if err == nil {
		err = fromJSON.UnmarshalJSON(j)
	}
	if err != nil {
		t.Fatal(err)
	}
	read(fromJSON)
	if _, err := handlers.Part[handlers.Distinct](v, 2); err == nil {
		t.Error("a list was taken for a Distinct")
	}
	if _, err := handlers.Part[int](v, 0); err == nil {
		t.Error("a number was taken for an int")
	}
}
