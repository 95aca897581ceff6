package stateful_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pondage/pondage/stateful"
)

var updateCodec = flag.Bool("update-codec", false, "write the files of testdata/codec that are missing")

// Every value that was ever written must open in every later version. A file is
// written once, by -update-codec, and never changed: a new format gets new files.
func TestOldValuesStillOpen(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 123456789, time.UTC)
	goldenState(t, "v1-int", stateful.StateCodecConfig[int]{}, -300, 0)
	goldenState(t, "v1-int-expiring", stateful.StateCodecConfig[int]{}, math.MaxInt64, at.UnixMilli())
	goldenState(t, "v1-int-schema-300", stateful.StateCodecConfig[int]{Version: 300}, math.MinInt64, -1)
	goldenState(t, "v1-uint", stateful.StateCodecConfig[uint64]{}, math.MaxUint64, 0)
	goldenState(t, "v1-float32", stateful.StateCodecConfig[float32]{}, 1.5, 0)
	goldenState(t, "v1-float64", stateful.StateCodecConfig[float64]{}, -0.1, 0)
	goldenState(t, "v1-bool", stateful.StateCodecConfig[bool]{}, true, 0)
	goldenState(t, "v1-string", stateful.StateCodecConfig[string]{}, "päron", 0)
	goldenState(t, "v1-bytes", stateful.StateCodecConfig[[]byte]{}, []byte{0, 255}, 0)
	goldenState(t, "v1-binary", stateful.StateCodecConfig[pane]{}, pane{2, 1000}, 0)
	goldenState(t, "v1-msgp", stateful.StateCodecConfig[packed]{}, packed{"ana", []string{"a", "b"}}, 0)
	goldenState(t, "v1-json", stateful.StateCodecConfig[pane]{Format: stateful.JSON}, pane{2, 1000}, 5)
	goldenState(t, "v1-cbor", stateful.StateCodecConfig[profile]{Version: 2}, profile{
		Name: "ana", Age: 41, Scores: map[string]float64{"b": 0.1, "a": 1}, Path: []inner{{1, 2, 3}},
		Parent: &profile{Name: "eva"}, Seen: at, Raw: []byte("raw"), ID: [16]byte{1, 2},
	}, 0)
}

func goldenState[T any](t *testing.T, name string, cfg stateful.StateCodecConfig[T], v T, expiry int64) {
	t.Run(name, func(t *testing.T) {
		c := stateCodec(t, cfg)
		file := filepath.Join("testdata", "codec", name+".golden")
		stored, err := os.ReadFile(file)
		if os.IsNotExist(err) && *updateCodec {
			stored = fmt.Appendf(nil, "%x\n", encodeState(t, c, v, expiry))
			err = os.WriteFile(file, stored, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(stored)))
		if err != nil {
			t.Fatal(err)
		}
		var got T
		at, err := c.Decode(b, &got)
		if diff := cmp.Diff(v, got, sameValue); err != nil || at != expiry || diff != "" {
			t.Errorf("expiry %d, want %d, %v\n%s", at, expiry, err, diff)
		}
		if now := encodeState(t, c, v, expiry); string(now) != string(b) {
			t.Errorf("is now written as %x, was %x: a changed format needs a version of its own", now, b)
		}
	})
}
