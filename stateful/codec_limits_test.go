package stateful_test

import (
	"math"
	"math/big"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pondage/pondage/stateful"
)

type chain struct{ Next *chain }

// State that was committed and cannot be read would stop its task for good, so
// the reading side may have no limit that the writing side does not have.
func TestWhateverIsWrittenCanBeRead(t *testing.T) {
	long, wide := make([]int, 140_000), map[int]bool{}
	for i := range long {
		wide[i] = true
	}
	deep := &chain{}
	for range 1000 {
		deep = &chain{deep}
	}
	t.Run("more elements than CBOR decoders take by default", readsBack(long))
	t.Run("more pairs than CBOR decoders take by default", readsBack(wide))
	t.Run("deeper than CBOR decoders go by default", readsBack(deep))
	t.Run("a type with text methods alone", readsBack(struct{ F *big.Float }{big.NewFloat(0.5)}))
	t.Run("numbers of any type", readsBack(map[string]any{
		"small": int64(1), "negative": int64(math.MinInt64), "huge": *new(big.Int).SetUint64(math.MaxUint64),
	}))
}

func readsBack[T any](v T) func(*testing.T) {
	return func(t *testing.T) {
		c := stateCodec(t, stateful.StateCodecConfig[T]{})
		var got T
		if _, err := c.Decode(encodeState(t, c, v, 0), &got); err != nil {
			t.Fatal(err)
		}
		big := cmp.Options{
			cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 }),
			cmp.Comparer(func(a, b *big.Float) bool { return a.Cmp(b) == 0 }),
		}
		if reflect.DeepEqual(v, got) {
			return // cmp takes seconds for so many elements
		}
		if diff := cmp.Diff(v, got, big); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDamagedValuesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"an int with a byte too many", readAs(t, []byte{0x41, 2, 0}, 0)},
		{"an int that is cut", readAs(t, []byte{0x41, 0x80}, 0)},
		{"an uint with a byte too many", readAs(t, []byte{0x42, 2, 0}, uint(0))},
		{"a float that is cut", readAs(t, []byte{0x44, 1, 2, 3}, 0.0)},
		{"a short float that is cut", readAs(t, []byte{0x43, 1}, float32(0))},
		{"a bool of 2", readAs(t, []byte{0x45, 2}, false)},
		{"a bool of nothing", readAs(t, []byte{0x45}, false)},
		{"CBOR with a byte too many", readAs(t, []byte{0x49, 0xa0, 0}, inner{})},
		{"JSON with more behind it", readAs(t, []byte("\x4a{}{}"), inner{})},
		{"a hand-written value with a byte too many", readAs(t, []byte{0x47, 1, 2, 3}, pane{})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil {
				t.Error("it was read")
			}
		})
	}
}
