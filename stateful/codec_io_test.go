package stateful_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pondage/pondage/stateful"
)

type ioClick struct {
	User string
	At   time.Time
}

// proto has the methods that gogo's protobuf generates, vt those of vtprotobuf,
// bare only those of google's.
type (
	proto struct{ S string }
	vt    struct{ S string }
	bare  struct{ S string }
)

func (p *proto) Marshal() ([]byte, error)     { return []byte("p" + p.S), nil }
func (p *proto) Unmarshal(b []byte) error     { return cut(b, "p", &p.S) }
func (p *vt) MarshalVT() ([]byte, error)      { return []byte("v" + p.S), nil }
func (p *vt) UnmarshalVT(b []byte) error      { return cut(b, "v", &p.S) }
func (p *bare) ProtoReflect() (none struct{}) { return }

func cut(b []byte, prefix string, s *string) (err error) {
	var ok bool
	if *s, ok = strings.CutPrefix(string(b), prefix); !ok {
		err = errors.New("no " + prefix)
	}
	return err
}

// bothWays checks that v is written as want and read back, by the functions made
// for T and by the codec itself.
func bothWays[T any](c stateful.Codec, v T, want string) func(*testing.T) {
	return func(t *testing.T) {
		if c == nil {
			c = stateful.DefaultCodec()
		}
		for name, got := range map[string]func([]byte) ([]byte, error){
			"Encoder":             func(b []byte) ([]byte, error) { return stateful.Encoder[T](c)(b, &v) },
			"Append of a pointer": func(b []byte) ([]byte, error) { return c.Append(b, &v) },
			"Append of a value":   func(b []byte) ([]byte, error) { return c.Append(b, v) },
		} {
			if b, err := got([]byte("> ")); err != nil || string(b) != "> "+want {
				t.Errorf("%s wrote %q, %v; want %q", name, b, err, "> "+want)
			}
		}
		var made, direct T
		if err := errors.Join(stateful.Decoder[T](c)([]byte(want), &made), c.Decode([]byte(want), &direct)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, made) + cmp.Diff(v, direct); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRecordsAreWrittenAndReadAsTheirTypeSays(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	t.Run("a struct is JSON", bothWays(nil, ioClick{"a<b", noon}, `{"User":"a<b","At":"2026-03-01T12:00:00Z"}`))
	t.Run("a pointer to a struct is JSON", bothWays(nil, &ioClick{"ana", noon}, `{"User":"ana","At":"2026-03-01T12:00:00Z"}`))
	t.Run("a number is JSON", bothWays(nil, 12, `12`))
	t.Run("a time is JSON though it has binary methods", bothWays(nil, noon, `"2026-03-01T12:00:00Z"`))
	t.Run("msgp methods are used", bothWays(nil, packed{"a", []string{"b"}}, "\x92\xa1a\x91\xa1b"))
	t.Run("msgp methods of a pointer type are used", bothWays(nil, &packed{"a", []string{"b"}}, "\x92\xa1a\x91\xa1b"))
	t.Run("protobuf methods are used", bothWays(nil, proto{"x"}, "px"))
	t.Run("protobuf methods of a pointer type are used", bothWays(nil, &proto{"x"}, "px"))
	t.Run("vtprotobuf methods are used", bothWays(nil, &vt{"x"}, "vx"))
	t.Run("binary methods are used", bothWays(nil, pane{1, -1}, "\x01\x01"))
	t.Run("JSONCodec is JSON for every type", bothWays(stateful.JSONCodec{}, pane{1, -1}, `{"Pane":1,"Count":-1}`))
	t.Run("raw bytes", bothWays(stateful.RawCodec{}, []byte("raw"), "raw"))
	t.Run("raw string", bothWays(stateful.RawCodec{}, "raw", "raw"))
	t.Run("raw named bytes", bothWays(stateful.RawCodec{}, blob("raw"), "raw"))
	t.Run("raw named string", bothWays(stateful.RawCodec{}, title("raw"), "raw"))
}

func TestWhatCannotBeReadOrWrittenIsTold(t *testing.T) {
	decode := func(err error) error { return err }
	encode := func(b []byte, err error) error {
		if string(b) != "kept" {
			t.Errorf("the bytes before became %q", b)
		}
		return err
	}
	kept := []byte("kept")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"bytes behind the JSON", decode(stateful.Decoder[int](nil)([]byte("1 2"), new(int))), "after top-level value"},
		{"bytes behind the msgp", decode(stateful.Decoder[packed](nil)([]byte("\x92\xa1a\x90x"), new(packed))), "1 bytes follow"},
		{"msgp that lies about its length", decode(stateful.Decoder[packed](nil)([]byte("\x92\xa1a\xdd\xff\xff\xff\xff"), new(packed))), "msgp"},
		{"an empty record", decode(stateful.Decoder[int](nil)(nil, new(int))), "JSON"},
		{"a nil target", decode(stateful.DefaultCodec().Decode(nil, nil)), "needs a pointer"},
		{"a value as target", decode(stateful.DefaultCodec().Decode(nil, 1)), "needs a pointer"},
		{"a broken pointer type", decode(stateful.DefaultCodec().Decode([]byte("x"), new(*proto))), "no p"},
		{"a message without methods, read", decode(stateful.Decoder[*bare](nil)(nil, new(*bare))), "proto.Unmarshal"},
		{"a message without methods, written", encode(stateful.DefaultCodec().Append(kept, &bare{})), "proto.Marshal"},
		{"a nil message", encode(stateful.Encoder[*proto](nil)(kept, new(*proto))), "nil *stateful_test.proto"},
		{"a nil message by the codec", encode(stateful.DefaultCodec().Append(kept, new(*proto))), "nil *stateful_test.proto"},
		{"a nil pointer", encode(stateful.DefaultCodec().Append(kept, (*proto)(nil))), "nil *stateful_test.proto"},
		{"a number as raw bytes, read", decode(stateful.Decoder[int](stateful.RawCodec{})(nil, new(int))), "DefaultCodec"},
		{"a number as raw bytes, written", encode(stateful.Encoder[int](stateful.RawCodec{})(kept, new(int))), "DefaultCodec"},
		{"a number as raw bytes by the codec, read", decode(stateful.RawCodec{}.Decode(nil, new(int))), "DefaultCodec"},
		{"nil as raw bytes", encode(stateful.RawCodec{}.Append(kept, nil)), "DefaultCodec"},
		{"a function as JSON", encode(stateful.JSONCodec{}.Append(kept, func() {})), "unsupported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
				t.Errorf("got %v, want %q", tt.err, tt.want)
			}
		})
	}
}

func TestJSONRecordsComeBackAsTheyWere(t *testing.T) {
	decode, encode := stateful.Decoder[map[string][]int64](nil), stateful.Encoder[map[string][]int64](nil)
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Int64())).Draw(t, "value")
		b, err := encode(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string][]int64
		if err := decode(b, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRawRecordsAndTypesWithMethodsCostNoAllocation(t *testing.T) {
	raw, own := stateful.Decoder[[]byte](stateful.RawCodec{}), stateful.Decoder[pane](nil)
	put := stateful.Encoder[pane](nil)
	buf, b, p := make([]byte, 0, 64), new([]byte), new(pane)
	if n := testing.AllocsPerRun(1000, func() {
		data, err := put(buf, p)
		if err = errors.Join(err, raw(data, b), own(data, p)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestRawBytesCannotGrowIntoTheirNeighbour(t *testing.T) {
	data := []byte("onetwo")
	var v []byte
	if err := stateful.Decoder[[]byte](stateful.RawCodec{})(data[:3], &v); err != nil {
		t.Fatal(err)
	}
	if _ = append(v, 'X'); string(data) != "onetwo" {
		t.Errorf("the next record became %q", data[3:])
	}
}
