package handlers

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

func countCodec(t testing.TB) sessionCodec[int] {
	t.Helper()
	c, err := stateful.NewStateCodec(stateful.StateCodecConfig[int]{})
	if err != nil {
		t.Fatal(err)
	}
	return sessionCodec[int]{c}
}

func TestStoredSessionsDoNotChange(t *testing.T) {
	codec := keySessionsCodec[int]{countCodec(t)}
	older := []olderSession{{window.Span{Start: -20, End: -10}, 7, true}, {window.Span{Start: 1, End: 2}, 300, false}}
	for _, tt := range []struct {
		name string
		k    keySessions[int]
		want string
	}{
		{"fresh", keySessions[int]{Span: window.Span{Start: 100, End: 103}, session: session[int]{value: 1}, look: 102}, "47" + "00" + "ce01" + "03" + "02" + "4102"},
		{"ended", keySessions[int]{Span: window.Span{Start: -9, End: -4}, session: session[int]{value: 5, pane: 300, ended: true}, look: 6}, "47" + "03" + "07" + "05" + "13" + "ac02" + "410a"},
		{
			"with older ones",
			keySessions[int]{Span: window.Span{Start: 5, End: 10}, session: session[int]{value: 1}, look: -11, before: &older},
			"47" + "04" + "14" + "05" + "2a" + "02" + "000301ac02" + "010b0a07" + "4102",
		},
		{
			"with what a trigger keeps",
			keySessions[int]{
				Span: window.Span{Start: 5, End: 10}, look: 9,
				session: session[int]{value: 3, pane: 1, kept: &kept[int]{changed: true, stands: true, n: 2, wakes: wakes{7, -1}, last: 2}},
			},
			"47" + "0a" + "14" + "05" + "02" + "01" + "3d" + "02" + "0e" + "01" + "024104" + "4106",
		},
		{
			"purged",
			keySessions[int]{Span: window.Span{Start: 5, End: 10}, look: 9, session: session[int]{kept: &kept[int]{empty: true, wakes: asleep}}},
			"47" + "08" + "14" + "05" + "02" + "02" + "4100",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := codec.Append(nil, &tt.k, stateful.NoExpiry)
			if got := hex.EncodeToString(b); err != nil || got != tt.want {
				t.Errorf("it is stored as %s, %v; it was as %s", got, err, tt.want)
			}
			was, err := hex.DecodeString(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			var again keySessions[int]
			if _, err := codec.Decode(was, &again); err != nil || !reflect.DeepEqual(again, tt.k) {
				t.Errorf("it is read as %+v, %v", again, err)
			}
		})
	}
	s := session[int]{value: 5, pane: 1, ended: true}
	b, err := codec.sessionCodec.Append(nil, &s, stateful.NoExpiry)
	if got := hex.EncodeToString(b); err != nil || got != "47"+"03"+"01"+"410a" {
		t.Errorf("an older session is stored as %s, %v", got, err)
	}
	d := dueKeys{{at: 100, key: "ana"}, {at: 99, key: ""}, {at: 300, key: "b"}}
	b, err = d.AppendBinary(nil)
	if got := hex.EncodeToString(b); err != nil || got != "c801"+"03616e61"+"01"+"00"+"9203"+"0162" {
		t.Errorf("a part of the due index is stored as %s, %v", got, err)
	}
}

// Any bytes are refused or are those of one value.
func FuzzStoredSessions(f *testing.F) {
	for _, s := range []string{"4700ce0103024102", "4703070513ac02410a", "470414052a02000301ac02010b0a074102", "470a140502013d020e010241044106", "c80103616e6101009203" + "0162"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		codec := keySessionsCodec[int]{countCodec(t)}
		again(t, b, codec.Decode, codec.Append)
		again(t, b, codec.sessionCodec.Decode, codec.sessionCodec.Append)
		again(t, b,
			func(b []byte, d *dueKeys) (int64, error) { return 0, d.UnmarshalBinary(b) },
			func(b []byte, d *dueKeys, _ int64) ([]byte, error) { return d.AppendBinary(b) })
	})
}

func again[T any](t *testing.T, b []byte, decode func([]byte, *T) (int64, error), encode func([]byte, *T, int64) ([]byte, error)) {
	var v, w T
	if _, err := decode(b, &v); err != nil {
		return
	}
	c, err := encode(nil, &v, stateful.NoExpiry)
	if err == nil {
		_, err = decode(c, &w)
	}
	if err != nil || !reflect.DeepEqual(v, w) {
		t.Errorf("%x is %+v, and again, as %x, %+v, %v", b, v, c, w, err)
	}
	if d, err := encode(nil, &w, stateful.NoExpiry); err != nil || !bytes.Equal(c, d) {
		t.Errorf("%+v is %x, then %x, %v", v, c, d, err)
	}
}
