package handlers

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"reflect"
	"strconv"
	"testing"
)

// What is stored of aggregates that are no numbers: a change here is a change of a format.
func TestFormatsOfAggregatesDoNotChange(t *testing.T) {
	text := func(n int) string { return strconv.Itoa(n) }
	number := func(n int) float64 { return float64(n) }
	distinct, quantiles, list := DistinctCount(text), Quantiles(number, 0.01), List(9, text)
	all := All(Count[int](), distinct, list, quantiles)
	few, many, list2 := pinned(t, distinct, 2), pinned(t, distinct, 1025), pinned(t, list, 2)
	numbers, values := pinned(t, quantiles, 3), pinned(t, all, 2)
	for _, tt := range []struct {
		name string
		v    encoding.BinaryAppender
		want string
	}{
		{"distinct", &few, "01d8e2a6a7c8c7623decaf441208573463"},
		{"distinct, a sketch", &many, "02020e000000004000 9034327ae4fad70f"},
		{"quantiles", &numbers, "017b14ae47e17a843f01010001010001"},
		{"list", &list2, "4982622d316130"},
		{"all", &values, "0401060b07041101d8e2a6a7c8c7623decaf4412085734630a5b222d31222c2230225d0e017b14ae47e17a843f0101000100"},
	} {
		b, err := tt.v.AppendBinary(nil)
		got := hex.EncodeToString(b)
		if len(b) > 1000 {
			sum := sha256.Sum256(b)
			got = hex.EncodeToString(b[:9]) + " " + hex.EncodeToString(sum[:8])
		}
		if err != nil || got != tt.want {
			t.Errorf("%s is %s, %v; it was %s", tt.name, got, err, tt.want)
		}
		again := reflect.New(reflect.TypeOf(tt.v).Elem()).Interface().(encoding.BinaryUnmarshaler)
		if err := again.UnmarshalBinary(b); err != nil {
			t.Errorf("%s cannot be read: %v", tt.name, err)
		}
	}
}

// pinned folds -1, 0, 1 and so on, n in number.
func pinned[A any](t *testing.T, a Aggregate[int, A], n int) (v A) {
	t.Helper()
	if a.Init != nil {
		v = a.Init()
	}
	for i := range n {
		var err error
		if v, err = a.Fold(v, i-1); err != nil {
			t.Fatal(err)
		}
	}
	return v
}
