package handlers

import (
	"encoding/hex"
	"testing"

	"github.com/pondage/pondage/stateful/window"
)

func TestWhatIsKeptOfAWindowDoesNotChange(t *testing.T) {
	for _, tt := range []struct {
		state windowState
		want  string
	}{
		{windowState{eventAt: unset, clockAt: unset}, "010000"},
		{windowState{panes: 300, changed: true, n: 2, eventAt: -1, clockAt: unset}, "0119ac020201"},
		{windowState{empty: true, stands: true, eventAt: unset, clockAt: 5}, "012600" + "0a"},
		{
			windowState{times: window.Span{Start: -2, End: 1}, given: window.Span{Start: 1, End: 1}, have: 3, before: 9, eventAt: unset, clockAt: unset},
			"01c000" + "0303" + "0200" + "0309",
		},
	} {
		b, err := tt.state.AppendBinary(nil)
		if got := hex.EncodeToString(b); err != nil || got != tt.want {
			t.Errorf("%+v is %s, %v; it was %s", tt.state, got, err, tt.want)
		}
		var again windowState
		if err := again.UnmarshalBinary(b); err != nil || again != tt.state {
			t.Errorf("%s is read as %+v, %v", tt.want, again, err)
		}
	}
}

// Any bytes are refused or are those of one state, but for varints that could be shorter.
func FuzzWindowState(f *testing.F) {
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again windowState
		if s.UnmarshalBinary(b) != nil {
			return
		}
		c, err := s.AppendBinary(nil)
		if err == nil {
			err = again.UnmarshalBinary(c)
		}
		if err != nil || again != s {
			t.Errorf("%x is %+v, and again %+v, %v", b, s, again, err)
		}
	})
}
