package stateful

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/tinylib/msgp/msgp"
)

// wire is how DefaultCodec encodes one type. Both functions take a pointer to
// the value; pointer says that the type is itself a pointer, to the type that
// has the methods, as protobuf messages are used.
type wire struct {
	name    string
	pointer bool
	decode  func(data []byte, v any) error
	append  func(b []byte, v any) ([]byte, error)
}

var wires sync.Map // reflect.Type to *wire

// wireOf returns the wire of t.
func wireOf(t reflect.Type) *wire {
	if w, ok := wires.Load(t); ok {
		return w.(*wire)
	}
	w, _ := wires.LoadOrStore(t, resolveWire(t))
	return w.(*wire)
}

func resolveWire(t reflect.Type) *wire {
	if t.Kind() == reflect.Pointer {
		if own := ownWire(t); own != nil {
			own.pointer = true
			return own
		}
	} else if own := ownWire(reflect.PointerTo(t)); own != nil {
		return own
	}
	return &wire{name: "json", decode: JSONCodec{}.Decode, append: JSONCodec{}.Append}
}

type (
	vtMessage interface {
		MarshalVT() ([]byte, error)
		UnmarshalVT(data []byte) error
	}
	protoMessage interface {
		Marshal() ([]byte, error)
		Unmarshal(data []byte) error
	}
)

// ownWire returns the encoding that the methods of the pointer type p make, nil
// when it has none.
func ownWire(p reflect.Type) *wire {
	has := func(ts ...reflect.Type) bool {
		for _, t := range ts {
			if !p.Implements(t) {
				return false
			}
		}
		return true
	}
	switch {
	case has(reflect.TypeFor[msgp.Marshaler](), reflect.TypeFor[msgp.Unmarshaler]()):
		return newWire("msgp",
			func(data []byte, v any) error { return decodeMsgp(data, v.(msgp.Unmarshaler)) },
			func(b []byte, v any) ([]byte, error) { return v.(msgp.Marshaler).MarshalMsg(b) })
	case has(reflect.TypeFor[vtMessage]()):
		return newWire("protobuf",
			func(data []byte, v any) error { return v.(vtMessage).UnmarshalVT(data) },
			func(b []byte, v any) ([]byte, error) { return appendMarshalled(b, v.(vtMessage).MarshalVT) })
	case has(reflect.TypeFor[protoMessage]()):
		return newWire("protobuf",
			func(data []byte, v any) error { return v.(protoMessage).Unmarshal(data) },
			func(b []byte, v any) ([]byte, error) { return appendMarshalled(b, v.(protoMessage).Marshal) })
	}
	if _, ok := p.MethodByName("ProtoReflect"); ok {
		return refusedProto()
	}
	if !has(reflect.TypeFor[encoding.BinaryUnmarshaler]()) ||
		has(reflect.TypeFor[json.Unmarshaler]()) || has(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	decode := func(data []byte, v any) error { return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(data) }
	switch {
	case has(reflect.TypeFor[encoding.BinaryAppender]()):
		return newWire("binary", decode,
			func(b []byte, v any) ([]byte, error) { return v.(encoding.BinaryAppender).AppendBinary(b) })
	case has(reflect.TypeFor[encoding.BinaryMarshaler]()):
		return newWire("binary", decode, func(b []byte, v any) ([]byte, error) {
			return appendMarshalled(b, v.(encoding.BinaryMarshaler).MarshalBinary)
		})
	}
	return nil
}

func newWire(name string, decode func([]byte, any) error, appendTo func([]byte, any) ([]byte, error)) *wire {
	return &wire{
		name: name,
		decode: func(data []byte, v any) error {
			if err := decode(data, v); err != nil {
				return fmt.Errorf("decode %T as %s: %w", v, name, err)
			}
			return nil
		},
		append: func(b []byte, v any) ([]byte, error) {
			out, err := appendTo(b, v)
			if err != nil {
				return b, fmt.Errorf("encode %T as %s: %w", v, name, err)
			}
			return out, nil
		},
	}
}

func appendMarshalled(b []byte, marshal func() ([]byte, error)) ([]byte, error) {
	m, err := marshal()
	if err != nil {
		return b, err
	}
	return append(b, m...), nil
}

func refusedProto() *wire {
	refused := func(v any) error {
		return fmt.Errorf("%T is a protobuf message without methods of its own to encode it: "+
			"set a Codec that calls proto.Marshal and proto.Unmarshal, or generate it with vtprotobuf", v)
	}
	return &wire{
		name:   "refused",
		decode: func(_ []byte, v any) error { return refused(v) },
		append: func(b []byte, v any) ([]byte, error) { return b, refused(v) },
	}
}
