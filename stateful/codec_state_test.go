package stateful_test

import (
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pondage/pondage/stateful"
)

var stateFormats = map[string]stateful.Format{"auto": stateful.Auto, "cbor": stateful.CBOR, "json": stateful.JSON}

func stateCodec[T any](t testing.TB, cfg stateful.StateCodecConfig[T]) *stateful.StateCodec[T] {
	t.Helper()
	c, err := stateful.NewStateCodec(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func encodeState[T any](t testing.TB, c *stateful.StateCodec[T], v T, expiry int64) []byte {
	t.Helper()
	b, err := c.Append(nil, &v, expiry)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var sameValue = cmp.Options{
	cmpopts.EquateEmpty(), cmpopts.EquateNaNs(), cmpopts.IgnoreUnexported(profile{}),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }),
}

func roundTrips[T any](gen *rapid.Generator[T], only ...string) func(*testing.T) {
	return func(t *testing.T) {
		for name, f := range stateFormats {
			if len(only) > 0 && !strings.Contains(strings.Join(only, " "), name) {
				continue
			}
			c := stateCodec(t, stateful.StateCodecConfig[T]{Format: f})
			t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
				v := gen.Draw(t, "value")
				expiry := rapid.Int64().Draw(t, "expiry")
				prefix := []byte("before")
				b, err := c.Append(prefix, &v, expiry)
				if err != nil {
					t.Fatal(err)
				}
				if string(b[:len(prefix)]) != "before" {
					t.Fatalf("Append changed what stood before: %q", b)
				}
				got := gen.Draw(t, "what the value held before")
				at, err := c.Decode(b[len(prefix):], &got)
				if err != nil {
					t.Fatal(err)
				}
				clear(b) // nothing of it may be kept
				if diff := cmp.Diff(v, got, sameValue); diff != "" || at != expiry {
					t.Fatalf("expiry %d, want %d; value changed:\n%s", at, expiry, diff)
				}
			}))
		}
	}
}

func TestStateValuesComeBackAsTheyWere(t *testing.T) {
	t.Run("int", roundTrips(rapid.Int()))
	t.Run("int8", roundTrips(rapid.Int8()))
	t.Run("int16", roundTrips(rapid.Int16()))
	t.Run("int32", roundTrips(rapid.Int32()))
	t.Run("int64", roundTrips(rapid.Int64()))
	t.Run("uint", roundTrips(rapid.Uint()))
	t.Run("uint8", roundTrips(rapid.Uint8()))
	t.Run("uint16", roundTrips(rapid.Uint16()))
	t.Run("uint32", roundTrips(rapid.Uint32()))
	t.Run("uint64", roundTrips(rapid.Uint64()))
	t.Run("float32", roundTrips(rapid.Float32()))
	t.Run("float64", roundTrips(rapid.Float64()))
	t.Run("bool", roundTrips(rapid.Bool()))
	t.Run("string", roundTrips(rapid.String()))
	t.Run("[]byte", roundTrips(rapid.SliceOf(rapid.Byte())))
	t.Run("named int8", roundTrips(rapid.Map(rapid.Int8(), func(n int8) level { return level(n) })))
	t.Run("named string", roundTrips(rapid.Map(rapid.String(), func(s string) title { return title(s) })))
	t.Run("named bytes", roundTrips(rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) blob { return b })))
	t.Run("named float", roundTrips(rapid.Map(rapid.Float64(), func(f float64) ratio { return ratio(f) })))
	t.Run("named bool", roundTrips(rapid.Map(rapid.Bool(), func(b bool) toggle { return toggle(b) })))
	t.Run("map", roundTrips(rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Int()))))
	t.Run("pointer", roundTrips(rapid.Ptr(rapid.Int(), true)))
	t.Run("hand-written", roundTrips(rapid.Custom(func(t *rapid.T) pane {
		return pane{rapid.Uint32().Draw(t, "pane"), rapid.Int64().Draw(t, "count")}
	})))
	t.Run("msgp", roundTrips(rapid.Custom(func(t *rapid.T) packed {
		return packed{rapid.String().Draw(t, "name"), rapid.SliceOf(rapid.String()).Draw(t, "tags")}
	})))
	t.Run("struct", roundTrips(rapid.Custom(drawProfile), "auto", "cbor"))
}

func drawProfile(t *rapid.T) profile {
	return profile{
		Name: string(rapid.SliceOf(rapid.Byte()).Draw(t, "a name that need not be UTF-8")),
		Age:  rapid.Int().Draw(t, "age"), Scores: rapid.MapOf(rapid.String(), rapid.Float64()).Draw(t, "scores"),
		Path: rapid.SliceOf(rapid.Custom(func(t *rapid.T) inner {
			return inner{rapid.Float32().Draw(t, "x"), 1, rapid.Uint64().Draw(t, "up")}
		})).Draw(t, "path"),
		Parent: rapid.Ptr(rapid.Just(profile{Name: "parent"}), true).Draw(t, "parent"),
		Seen:   time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
		Addr:   netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr"))),
		Big:    new(big.Int).Lsh(big.NewInt(rapid.Int64().Draw(t, "big")), 70),
		ID:     [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Raw:    rapid.SliceOf(rapid.Byte()).Draw(t, "raw"),
	}
}

func TestStateFloatsKeepEveryBitPattern(t *testing.T) {
	c := stateCodec(t, stateful.StateCodecConfig[float64]{})
	short := stateCodec(t, stateful.StateCodecConfig[float32]{})
	for _, bits := range []uint64{
		0, 1 << 63, math.Float64bits(math.NaN()), 0x7ff8000000000123, 0xfff0000000000000,
		math.Float64bits(math.MaxFloat64), math.Float64bits(math.SmallestNonzeroFloat64),
	} {
		var got float64
		if _, err := c.Decode(encodeState(t, c, math.Float64frombits(bits), 0), &got); err != nil || math.Float64bits(got) != bits {
			t.Errorf("%#x came back as %#x, %v", bits, math.Float64bits(got), err)
		}
	}
	var got float32
	negativeZero := math.Float32frombits(1 << 31)
	if _, err := short.Decode(encodeState(t, short, negativeZero, 0), &got); err != nil || !math.Signbit(float64(got)) {
		t.Errorf("-0 came back as %v, %v", got, err)
	}
}

func TestStateCodecIsChosenByTheType(t *testing.T) {
	for _, tt := range []struct{ name, got, want string }{
		{"a hand-written encoding is used", stateCodec(t, stateful.StateCodecConfig[pane]{}).Fingerprint(), "binary/1/"},
		{"a generated msgp method is used", stateCodec(t, stateful.StateCodecConfig[packed]{}).Fingerprint(), "msgp/1/"},
		{"a struct is CBOR", stateCodec(t, stateful.StateCodecConfig[profile]{}).Fingerprint(), "cbor/1/"},
		{"an int is native", stateCodec(t, stateful.StateCodecConfig[level]{}).Fingerprint(), "int/1/"},
		{"JSON is JSON when asked for", stateCodec(t, stateful.StateCodecConfig[pane]{Format: stateful.JSON}).Fingerprint(), "json/1/"},
		{"the version is part", stateCodec(t, stateful.StateCodecConfig[uint]{Version: 7}).Fingerprint(), "uint/7/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.HasPrefix(tt.got, tt.want) {
				t.Errorf("fingerprint %q, want %q…", tt.got, tt.want)
			}
		})
	}
}

func TestFingerprintFollowsTheShapeAndNotTheName(t *testing.T) {
	type one struct{ A int }
	type same struct{ A int }
	type retyped struct{ A int64 }
	type tagged struct {
		A int `cbor:"a"`
	}
	print := func(f string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	base := print(fingerprintOf[one]())
	if got := print(fingerprintOf[same]()); got != base {
		t.Errorf("a renamed type has %q, want %q", got, base)
	}
	if got := print(fingerprintOf[retyped]()); got == base {
		t.Error("another field type has the same fingerprint")
	}
	if got := print(fingerprintOf[tagged]()); got == base {
		t.Error("another tag has the same fingerprint")
	}
	if want := "cbor/1/70923d9f6f22c942"; base != want {
		t.Errorf("fingerprint of {A int} is %q, want %q as always", base, want)
	}
}

func fingerprintOf[T any]() (string, error) {
	c, err := stateful.NewStateCodec(stateful.StateCodecConfig[T]{})
	if err != nil {
		return "", err
	}
	return c.Fingerprint(), nil
}

type (
	hidden  struct{ n int }
	holds   struct{ In map[string][]hidden }
	speaks  struct{ Says error }
	calls   struct{ F func() }
	half    struct{ A int }
	stamped struct {
		time.Time
		N int
	}
	allowed struct {
		hidden `cbor:"-"` //nolint:unused // it is there to be left out
		N      int
	}
	weaklier struct {
		*inside
		N int
	}
	inside struct{ M int }
)

func (half) MarshalText() ([]byte, error) { return nil, nil }
func (h hidden) get() int                 { return h.n }

func TestStateThatWouldBeLostIsRefused(t *testing.T) {
	_ = hidden{}.get()
	for _, tt := range []struct {
		name string
		make func() (string, error)
		want string // empty: not refused
	}{
		{"only unexported fields", fingerprintOf[hidden], "all its fields are unexported"},
		{"a nested type with only unexported fields", fingerprintOf[holds], "the value.In is a stateful_test.hidden"},
		{"an interface field", fingerprintOf[speaks], "use a concrete type"},
		{"a function field", fingerprintOf[calls], `cbor:"-"`},
		{"a complex number", fingerprintOf[complex128], "no encoding"},
		{"a type that only writes itself", fingerprintOf[half], "could be written and not read"},
		{"embedded methods that forget the other fields", fingerprintOf[stamped], "give that field a name"},
		{"an embedded pointer to an unexported struct", fingerprintOf[weaklier], "embed the struct itself"},
		{"fields left out by tag", fingerprintOf[allowed], ""},
		{"the empty struct", fingerprintOf[struct{}], ""},
		{"a type that holds itself", fingerprintOf[profile], ""},
		{"a time", fingerprintOf[time.Time], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.make()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAChangedFormatIsReadAsItWasWritten(t *testing.T) {
	v := pane{3, -9}
	for was, f := range stateFormats {
		old := encodeState(t, stateCodec(t, stateful.StateCodecConfig[pane]{Format: f}), v, 12)
		for is, f := range stateFormats {
			var got pane
			at, err := stateCodec(t, stateful.StateCodecConfig[pane]{Format: f}).Decode(old, &got)
			if err != nil || got != v || at != 12 {
				t.Errorf("written as %s, read as %s: %v, %d, %v", was, is, got, at, err)
			}
		}
	}
}

func TestAChangedNumberTypeIsReadWhenItFits(t *testing.T) {
	i := func(n int64) []byte { return encodeState(t, stateCodec(t, stateful.StateCodecConfig[int64]{}), n, 0) }
	u := func(n uint64) []byte { return encodeState(t, stateCodec(t, stateful.StateCodecConfig[uint64]{}), n, 0) }
	f := func(n float64) []byte {
		return encodeState(t, stateCodec(t, stateful.StateCodecConfig[float64]{}), n, 0)
	}
	for _, tt := range []struct {
		name   string
		err    error
		refuse bool
	}{
		{"int64 127 fits int8", readAs(t, i(127), int8(127)), false},
		{"int64 128 does not fit int8", readAs(t, i(128), int8(0)), true},
		{"int64 5 fits uint8", readAs(t, i(5), uint8(5)), false},
		{"int64 -1 does not fit uint", readAs(t, i(-1), uint(0)), true},
		{"uint64 5 fits int", readAs(t, u(5), 5), false},
		{"uint64 max does not fit int64", readAs(t, u(math.MaxUint64), int64(0)), true},
		{"uint64 256 does not fit uint8", readAs(t, u(256), uint8(0)), true},
		{"float64 0.5 fits float32", readAs(t, f(0.5), float32(0.5)), false},
		{"float64 0.1 does not fit float32", readAs(t, f(0.1), float32(0)), true},
		{"a float is no int", readAs(t, f(1), 1), true},
		{"an int is no string", readAs(t, i(1), ""), true},
		{"an int is no struct", readAs(t, i(1), inner{}), true},
		{"an int is no pane", readAs(t, i(1), pane{}), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if (tt.err != nil) != tt.refuse {
				t.Errorf("got %v", tt.err)
			}
		})
	}
}

func readAs[T comparable](t *testing.T, b []byte, want T) error {
	var got T
	_, err := stateCodec(t, stateful.StateCodecConfig[T]{}).Decode(b, &got)
	if err == nil && got != want {
		t.Errorf("read %v, want %v", got, want)
	}
	return err
}

func TestDecodeLeavesNothingOfWhatWasThere(t *testing.T) {
	type sparse struct {
		Small map[string]int `cbor:",omitempty"`
		N     int            `cbor:",omitempty"`
	}
	c := stateCodec(t, stateful.StateCodecConfig[sparse]{})
	got := sparse{Small: map[string]int{"old": 1}, N: 4}
	if _, err := c.Decode(encodeState(t, c, sparse{Small: map[string]int{"new": 2}}, 0), &got); err != nil {
		t.Fatal(err)
	}
	if want := (sparse{Small: map[string]int{"new": 2}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDecodeFaultsAreTheTasks(t *testing.T) {
	c := stateCodec(t, stateful.StateCodecConfig[string]{})
	var v string
	_, err := c.Decode([]byte{0xff}, &v)
	//nolint:errorlint // what is a fault of the task is returned as it is
	if !errors.Is(err, stateful.ErrCorrupt) || stateful.TaskFault(err) != err {
		t.Errorf("%v must be ErrCorrupt and a fault of the task", err)
	}
}
