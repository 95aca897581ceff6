package handlers

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

// What is stored, and what receivers keep: a change here is a change of a format.
func TestFormatsDoNotChange(t *testing.T) {
	minute := window.Tumbling(time.Minute).Offset(-time.Second)
	values := &Values{kinds: [MaxParts]kind{countKind, meanKind, maxKind | ready}, count: 3, nums: [MaxParts]float64{0, 7.5, -1}}
	average := &Average{Sum: 7.5, Count: 3}
	span := window.Span{Start: -1000, End: 59_000}
	id, _ := appendResultID(nil, nil, "clicks", "ana", span, 2, false)
	back, _ := appendResultID(nil, nil, "clicks", "ana", span, 2, true)
	for _, tt := range []struct {
		name string
		got  func() ([]byte, error)
		want string
	}{
		{"all", func() ([]byte, error) { return values.AppendBinary(nil) }, "030103850600" + "00000000001e40" + "000000000000f0bf"},
		{"mean", func() ([]byte, error) { return average.AppendBinary(nil) }, "0000000000001e4006"},
		{"windows", func() ([]byte, error) { return []byte(minute.String()), nil }, hex.EncodeToString([]byte("tumbling 1m0s offset 59s"))},
		{"id of what takes a result back", func() ([]byte, error) { return hex.DecodeString(string(back)) }, "8523c2d384d1acc5189abaab79d9cbf9"},
		{"result id", func() ([]byte, error) { return hex.DecodeString(string(id)) }, "1a4ca83a2f57e163997288a9747be52c"},
	} {
		b, err := tt.got()
		if got := hex.EncodeToString(b); err != nil || got != tt.want {
			t.Errorf("%s is %s, %v; it was %s", tt.name, got, err, tt.want)
		}
	}
}

// What older versions stored is read as it was meant.
func TestStoredAggregatesAreRead(t *testing.T) {
	var v Values
	b, err := hex.DecodeString("0301030506" + "0000000000001e40" + "000000000000f0bf")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.UnmarshalBinary(b); err != nil || v.Count() != 3 || v.At(1) != 2.5 || v.At(2) != -1 {
		t.Errorf("All is read as %v, %v", v, err)
	}
	var a Average
	if b, err = hex.DecodeString("0000000000001e4006"); err != nil {
		t.Fatal(err)
	}
	if err := a.UnmarshalBinary(b); err != nil || a != (Average{7.5, 3}) {
		t.Errorf("Mean is read as %v, %v", a, err)
	}
}
