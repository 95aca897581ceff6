package stateful_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

func TestSmallStateIsWrittenAndReadWithoutAllocation(t *testing.T) {
	t.Run("int", noAllocs(-12345))
	t.Run("uint32", noAllocs(uint32(7)))
	t.Run("float64", noAllocs(0.1))
	t.Run("bool", noAllocs(true))
	t.Run("[]byte into memory it has", noAllocs([]byte("some bytes")))
	t.Run("a named type", noAllocs(level(3)))
	t.Run("a hand-written struct", noAllocs(pane{1, 1000}))
}

func noAllocs[T any](v T) func(*testing.T) {
	return func(t *testing.T) {
		c := stateCodec(t, stateful.StateCodecConfig[T]{})
		buf := make([]byte, 0, 64)
		out := new(T)
		if _, err := c.Decode(encodeState(t, c, v, 0), out); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() {
			b, err := c.Append(buf[:0], &v, 1)
			if err == nil {
				_, err = c.Decode(b, out)
			}
			if err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	}
}

func TestStateIsSmallerThanJSON(t *testing.T) {
	t.Run("int", smaller(1000))
	t.Run("a hand-written struct", smaller(pane{1, 1000}))
	t.Run("msgp", smaller(packed{"ana", []string{"a", "b"}}))
	t.Run("CBOR", smaller(inner{1, 2, 3}))
}

func smaller[T any](v T) func(*testing.T) {
	return func(t *testing.T) {
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if b := encodeState(t, stateCodec(t, stateful.StateCodecConfig[T]{}), v, 0); len(b) >= len(asJSON) {
			t.Errorf("%d bytes, JSON has %d", len(b), len(asJSON))
		}
	}
}

// x/json is how many times faster a write and read of one value is than
// encoding/json's in the same run, in turns so that both meet the same machine.
func BenchmarkStateCodec(b *testing.B) {
	b.Run("value=pane", benchState(pane{1, 123456}))
	b.Run("value=int", benchState(123456))
	b.Run("value=msgp", benchState(packed{"ana", []string{"a", "b"}}))
	b.Run("value=cbor", benchState(inner{1, 2, 3}))
}

func benchState[T any](v T) func(*testing.B) {
	return func(b *testing.B) {
		const turn = 1000
		c := stateCodec(b, stateful.StateCodecConfig[T]{})
		buf, out := make([]byte, 0, 256), new(T)
		var ours, theirs time.Duration
		var size, jsonSize int
		b.ReportAllocs()
		for b.Loop() {
			start := time.Now()
			for range turn {
				enc, err := c.Append(buf[:0], &v, stateful.NoExpiry)
				if err != nil {
					b.Fatal(err)
				}
				if _, err = c.Decode(enc, out); err != nil {
					b.Fatal(err)
				}
				size = len(enc)
			}
			ours += time.Since(start)
			b.StopTimer()
			start = time.Now()
			for range turn {
				enc, err := json.Marshal(&v)
				if err != nil {
					b.Fatal(err)
				}
				if err = json.Unmarshal(enc, out); err != nil {
					b.Fatal(err)
				}
				jsonSize = len(enc)
			}
			theirs += time.Since(start)
			b.StartTimer()
		}
		b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*turn), "ns/value")
		b.ReportMetric(float64(theirs)/float64(ours), "x/json")
		b.ReportMetric(float64(size), "bytes")
		b.ReportMetric(float64(jsonSize), "json-bytes")
	}
}

func BenchmarkEventDecode(b *testing.B) {
	data := []byte(`{"User":"ana","At":"2026-03-01T10:00:00Z"}`)
	decode := stateful.Decoder[ioClick](nil)
	b.ReportAllocs()
	for b.Loop() {
		var c ioClick
		if err := decode(data, &c); err != nil {
			b.Fatal(err)
		}
	}
}
