package stateful_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

func TestHeaderIsOneByteWhenThereIsNothingToSay(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC).UnixMilli()
	for _, tt := range []struct {
		name string
		h    stateful.ValueHeader
		want int
	}{
		{"schema 0", stateful.ValueHeader{Codec: stateful.CodecInt}, 1},
		{"schema 1", stateful.ValueHeader{Codec: stateful.CodecInt, Schema: 1}, 1},
		{"schema 2", stateful.ValueHeader{Codec: stateful.CodecInt, Schema: 2}, 2},
		{"an expiry of these years", stateful.ValueHeader{Codec: stateful.CodecInt, Expiry: now}, 7},
		{"everything at its largest", stateful.ValueHeader{Codec: stateful.CodecJSON, Schema: math.MaxUint32, Expiry: math.MinInt64}, 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := stateful.AppendValueHeader(nil, tt.h)
			if len(b) != tt.want {
				t.Errorf("%d bytes, want %d", len(b), tt.want)
			}
			got, rest, err := stateful.ParseValueHeader(append(b, 'x'))
			if tt.h.Schema = max(tt.h.Schema, 1); err != nil || got != tt.h || string(rest) != "x" {
				t.Errorf("parsed %+v, rest %q, %v", got, rest, err)
			}
			if at, err := stateful.ValueExpiry(b); err != nil || at != tt.h.Expiry {
				t.Errorf("expiry %d, %v", at, err)
			}
		})
	}
}

func TestBytesThatAreNoHeaderAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"zeros", []byte{0, 0}},
		{"a later format version", []byte{0x81, 1}},
		{"codec 0", []byte{0x40}},
		{"an unknown codec", []byte{0x4b}},
		{"an unknown codec with a schema", []byte{0x6f, 2}},
		{"a cut schema", []byte{0x61, 0x80}},
		{"a schema that needs no saying", []byte{0x61, 1}},
		{"a schema longer than it needs to be", []byte{0x61, 0x82, 0}},
		{"a schema beyond 32 bits", []byte{0x61, 0x80, 0x80, 0x80, 0x80, 0x10}},
		{"a cut expiry", []byte{0x51}},
		{"an expiry of never", []byte{0x51, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if h, _, err := stateful.ParseValueHeader(tt.b); err == nil {
				t.Errorf("parsed as %+v", h)
			}
		})
	}
}

func TestExpiryIsTheFirstMillisecondWithoutTheValue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		written int64
		ttl     time.Duration
		want    int64
	}{
		{"written at 1000 for a second", 1000, time.Second, 2000},
		{"no ttl is never", 1000, 0, stateful.NoExpiry},
		{"a part of a millisecond counts whole", 1000, time.Microsecond, 1001},
		{"before 1970", -5000, time.Second, -4000},
		{"the one instant that would read as never", -1000, time.Second, 1},
		{"beyond the end of time is never", math.MaxInt64 - 5, time.Second, stateful.NoExpiry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := stateful.ExpiryAt(tt.written, tt.ttl); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func FuzzValueHeader(f *testing.F) {
	f.Add([]byte{0x71, 2, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := stateful.ParseValueHeader(b)
		if err != nil {
			return
		}
		if again := append(stateful.AppendValueHeader(nil, h), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x reads as %+v, which is written as %x", b, h, again)
		}
	})
}
