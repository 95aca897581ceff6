package stateful

import (
	"encoding/json"
	"fmt"
	"reflect"
	"unsafe"
)

// JSONCodec is encoding/json, whatever methods of other encodings a type has.
// Bytes behind the value are refused. It writes without a newline and without
// escaping <, > and &.
type JSONCodec struct{}

// Decode fills the value that v points to from data and keeps nothing of data.
func (JSONCodec) Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %T as JSON: %w", v, err)
	}
	return nil
}

// Append appends v, or what it points to, to b. When it fails it returns b as it was.
func (JSONCodec) Append(b []byte, v any) ([]byte, error) {
	out, err := appendJSON(b, v)
	if err != nil {
		return b, fmt.Errorf("encode %T as JSON: %w", v, err)
	}
	return out, nil
}

// RawCodec takes the bytes of a record as they are, for values of string and
// []byte types. A decoded []byte is the record's own memory: copy what
// must last longer than the record, do not write to it. A string is a copy.
type RawCodec struct{}

// Decode sets the []byte or string that v points to.
func (RawCodec) Decode(data []byte, v any) error {
	switch p := v.(type) {
	case *[]byte:
		*p = data[:len(data):len(data)]
		return nil
	case *string:
		*p = string(data)
		return nil
	}
	p := reflect.ValueOf(v)
	if p.Kind() == reflect.Pointer && !p.IsNil() {
		if decode := rawDecode(p.Type().Elem()); decode != nil {
			decode(data, p.UnsafePointer())
			return nil
		}
	}
	return rawRefused(reflect.TypeOf(v))
}

// Append appends v, a []byte or string or a pointer to one, to b.
func (RawCodec) Append(b []byte, v any) ([]byte, error) {
	switch p := v.(type) {
	case *[]byte:
		return append(b, *p...), nil
	case []byte:
		return append(b, p...), nil
	case *string:
		return append(b, *p...), nil
	case string:
		return append(b, p...), nil
	}
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	switch {
	case r.Kind() == reflect.String:
		return append(b, r.String()...), nil
	case r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8:
		return append(b, r.Bytes()...), nil
	}
	return b, rawRefused(reflect.TypeOf(v))
}

// rawDecode returns how a string or byte slice type is set, nil for other types.
func rawDecode(t reflect.Type) func(data []byte, v unsafe.Pointer) {
	switch s := scalarOf(t); {
	case s == byteSlice:
		return func(data []byte, v unsafe.Pointer) { *(*[]byte)(v) = data[:len(data):len(data)] }
	case s != nil && s.id == CodecBytes:
		return func(data []byte, v unsafe.Pointer) { *(*string)(v) = string(data) }
	}
	return nil
}

func rawRefused(t reflect.Type) error {
	return fmt.Errorf("RawCodec takes strings and byte slices, not %v: use DefaultCodec or a Codec of your own", t)
}

// DefaultCodec returns the codec of inputs and outputs that name none. A type's
// own encoding is used when it has both directions of it: the generated msgp
// methods, or protobuf's (MarshalVT and UnmarshalVT, or Marshal and Unmarshal),
// or AppendBinary or MarshalBinary with UnmarshalBinary unless the type also
// reads JSON or text. All others are JSON, see [JSONCodec]. A
// protobuf message without such methods is refused, for its JSON would be wrong.
// Pass pointers to Append: a value is copied to find its methods.
func DefaultCodec() Codec { return defaultCodec{} }

type defaultCodec struct{}

func (defaultCodec) Decode(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("decode needs a pointer to a value to fill, not %T", v)
	}
	w := wireOf(p.Type().Elem())
	if !w.pointer {
		return w.decode(data, v)
	}
	e := reflect.New(p.Type().Elem().Elem())
	if err := w.decode(data, e.Interface()); err != nil {
		return err
	}
	p.Elem().Set(e)
	return nil
}

func (defaultCodec) Append(b []byte, v any) ([]byte, error) {
	p := reflect.ValueOf(v)
	switch {
	case v == nil:
		return JSONCodec{}.Append(b, v)
	case p.Kind() != reflect.Pointer:
		p = reflect.New(p.Type())
		p.Elem().Set(reflect.ValueOf(v))
	case p.IsNil():
		return b, errNilValue(p.Type())
	}
	w := wireOf(p.Type().Elem())
	if w.pointer {
		if p = p.Elem(); p.IsNil() {
			return b, errNilValue(p.Type())
		}
	}
	return w.append(b, p.Interface())
}

func errNilValue(t reflect.Type) error { return fmt.Errorf("a nil %v has no encoding", t) }

// Decoder returns the function that decodes records of type T with c, nil being
// [DefaultCodec]. How is decided here, once, so that a record costs no
// reflection of ours. The function may be called by several goroutines;
// *v must be zero.
func Decoder[T any](c Codec) func(data []byte, v *T) error {
	t := reflect.TypeFor[T]()
	switch c := c.(type) {
	case nil, defaultCodec:
		w := wireOf(t)
		if w.pointer {
			return func(data []byte, v *T) error {
				e := reflect.New(t.Elem()).Interface()
				if err := w.decode(data, e); err != nil {
					return err
				}
				*v = e.(T)
				return nil
			}
		}
		return func(data []byte, v *T) error { return w.decode(data, v) }
	case RawCodec:
		decode := rawDecode(t)
		if decode == nil {
			return func([]byte, *T) error { return rawRefused(t) }
		}
		return func(data []byte, v *T) error {
			decode(data, unsafe.Pointer(v))
			return nil
		}
	default:
		return func(data []byte, v *T) error { return c.Decode(data, v) }
	}
}

// Encoder returns the function that appends values of type T with c, nil being
// [DefaultCodec], decided once as in [Decoder]. It may be called by several
// goroutines. When it fails it returns b as it was.
func Encoder[T any](c Codec) func(b []byte, v *T) ([]byte, error) {
	t := reflect.TypeFor[T]()
	switch c := c.(type) {
	case nil, defaultCodec:
		w := wireOf(t)
		if w.pointer {
			return func(b []byte, v *T) ([]byte, error) {
				if reflect.ValueOf(*v).IsNil() {
					return b, errNilValue(t)
				}
				return w.append(b, *v)
			}
		}
		return func(b []byte, v *T) ([]byte, error) { return w.append(b, v) }
	case RawCodec:
		s := scalarOf(t)
		if s == nil || s.id != CodecBytes {
			return func(b []byte, _ *T) ([]byte, error) { return b, rawRefused(t) }
		}
		return func(b []byte, v *T) ([]byte, error) { return s.append(b, unsafe.Pointer(v)), nil }
	default:
		return func(b []byte, v *T) ([]byte, error) { return c.Append(b, v) }
	}
}
