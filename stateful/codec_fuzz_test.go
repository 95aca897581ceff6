package stateful_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"github.com/pondage/pondage/stateful"
)

// Any bytes either fail to decode, or decode to a value that is written and read
// again as the same bytes.
func FuzzStateCodecDecode(f *testing.F) {
	check := []func(*testing.T, []byte){
		law[int8](f), law[int64](f), law[uint32](f), law[float32](f), law[float64](f), law[bool](f),
		law[string](f), law[[]byte](f), law[pane](f), law[packed](f), law[profile](f), law[map[string]any](f),
		law[*profile](f), law[[]inner](f),
	}
	f.Add([]byte{0x41, 2})
	f.Add([]byte{0x47, 1, 2})
	f.Add([]byte{0x4a, '{', '}'})
	f.Add([]byte{0x49, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x48, 0x92, 0xa1, 'a', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range check {
			c(t, b)
		}
	})
}

func law[T any](f *testing.F) func(*testing.T, []byte) {
	c := stateCodec(f, stateful.StateCodecConfig[T]{})
	f.Add(encodeState(f, c, *new(T), 0))
	return func(t *testing.T, b []byte) {
		var v, again T
		at, err := c.Decode(b, &v)
		if err != nil {
			return
		}
		first, err := c.Append(nil, &v, at)
		if err != nil {
			return // JSON can hold what CBOR cannot, as a time of another calendar
		}
		if _, err := c.Decode(first, &again); err != nil {
			t.Fatalf("%x is written as %x, which cannot be read: %v", b, first, err)
		}
		if second := encodeState(t, c, again, at); !bytes.Equal(first, second) {
			t.Fatalf("%T: %x is written as %x, and that as %x", v, b, first, second)
		}
	}
}

func TestACorruptLengthAllocatesNothingLikeIt(t *testing.T) {
	msgpTags := msgp.AppendArrayHeader(msgp.AppendString(msgp.AppendArrayHeader([]byte{0x48}, 2), "ana"), 1<<28)
	for _, tt := range []struct {
		name   string
		decode func() error
	}{
		{"msgp", decodes[packed](t, msgpTags)},
		{"CBOR array", decodes[[]inner](t, []byte{0x49, 0x9a, 0x10, 0, 0, 0})},
		{"CBOR map", decodes[map[int]inner](t, []byte{0x49, 0xba, 0x10, 0, 0, 0})},
		{"CBOR string", decodes[profile](t, []byte{0x49, 0xa1, 0x64, 'N', 'a', 'm', 'e', 0x7a, 0x10, 0, 0, 0})},
		{"CBOR bytes", decodes[[]byte](t, []byte{0x49, 0x5a, 0x10, 0, 0, 0})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := tt.decode()
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 1<<20 {
				t.Errorf("allocated %d bytes and returned %v", got, err)
			}
		})
	}
}

func decodes[T any](t *testing.T, b []byte) func() error {
	c := stateCodec(t, stateful.StateCodecConfig[T]{})
	return func() error {
		_, err := c.Decode(b, new(T))
		return err
	}
}
