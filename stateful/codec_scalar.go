package stateful

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"unsafe"
)

// scalar encodes one basic kind. It takes a pointer to the value, of whatever
// named type, because a value of that kind lies in memory the same way and any
// other route to a named type reflects on every call.
type scalar struct {
	id     CodecID
	append func(b []byte, v unsafe.Pointer) []byte
	decode func(id CodecID, value []byte, v unsafe.Pointer) error
}

var scalars = map[reflect.Kind]*scalar{
	reflect.Int:     signed[int](),
	reflect.Int8:    signed[int8](),
	reflect.Int16:   signed[int16](),
	reflect.Int32:   signed[int32](),
	reflect.Int64:   signed[int64](),
	reflect.Uint:    unsigned[uint](),
	reflect.Uint8:   unsigned[uint8](),
	reflect.Uint16:  unsigned[uint16](),
	reflect.Uint32:  unsigned[uint32](),
	reflect.Uint64:  unsigned[uint64](),
	reflect.Float32: {CodecFloat32, putFloat32, takeFloat32},
	reflect.Float64: {CodecFloat64, putFloat64, takeFloat64},
	reflect.Bool:    {CodecBool, putBool, takeBool},
	reflect.String:  {CodecBytes, putString, takeString},
}

var byteSlice = &scalar{CodecBytes, putBytes, takeBytes}

// scalarOf returns the scalar of t, nil when t is not of a basic kind.
func scalarOf(t reflect.Type) *scalar {
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return byteSlice
	}
	return scalars[t.Kind()]
}

func signed[I int | int8 | int16 | int32 | int64]() *scalar {
	return &scalar{
		id: CodecInt,
		append: func(b []byte, v unsafe.Pointer) []byte {
			return binary.AppendVarint(b, int64(*(*I)(v)))
		},
		decode: func(id CodecID, value []byte, v unsafe.Pointer) error {
			u, rest, err := takeUvarint(value)
			if err != nil || len(rest) > 0 {
				return badScalar(id, value)
			}
			n := int64(u)
			switch {
			case id == CodecInt:
				n = unzigzag(u)
			case id != CodecUint:
				return wrongScalar(id, "an integer")
			case n < 0:
				return fmt.Errorf("the stored %d does not fit %T", u, I(0))
			}
			if int64(I(n)) != n {
				return fmt.Errorf("the stored %d does not fit %T", n, I(0))
			}
			*(*I)(v) = I(n)
			return nil
		},
	}
}

func unsigned[U uint | uint8 | uint16 | uint32 | uint64]() *scalar {
	return &scalar{
		id: CodecUint,
		append: func(b []byte, v unsafe.Pointer) []byte {
			return binary.AppendUvarint(b, uint64(*(*U)(v)))
		},
		decode: func(id CodecID, value []byte, v unsafe.Pointer) error {
			n, rest, err := takeUvarint(value)
			if err != nil || len(rest) > 0 {
				return badScalar(id, value)
			}
			switch id {
			case CodecUint:
			case CodecInt:
				i := unzigzag(n)
				if i < 0 {
					return fmt.Errorf("the stored %d does not fit %T", i, U(0))
				}
				n = uint64(i)
			default:
				return wrongScalar(id, "an unsigned integer")
			}
			if uint64(U(n)) != n {
				return fmt.Errorf("the stored %d does not fit %T", n, U(0))
			}
			*(*U)(v) = U(n)
			return nil
		},
	}
}

func putFloat32(b []byte, v unsafe.Pointer) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(*(*float32)(v)))
}

func putFloat64(b []byte, v unsafe.Pointer) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(*(*float64)(v)))
}

func takeFloat32(id CodecID, value []byte, v unsafe.Pointer) error {
	switch {
	case id == CodecFloat32 && len(value) == 4:
		*(*float32)(v) = math.Float32frombits(binary.LittleEndian.Uint32(value))
	case id == CodecFloat64 && len(value) == 8:
		wide := math.Float64frombits(binary.LittleEndian.Uint64(value))
		if float64(float32(wide)) != wide && wide == wide {
			return fmt.Errorf("the stored %v does not fit float32 without loss", wide)
		}
		*(*float32)(v) = float32(wide)
	case id == CodecFloat32 || id == CodecFloat64:
		return badScalar(id, value)
	default:
		return wrongScalar(id, "a float")
	}
	return nil
}

func takeFloat64(id CodecID, value []byte, v unsafe.Pointer) error {
	switch {
	case id == CodecFloat64 && len(value) == 8:
		*(*float64)(v) = math.Float64frombits(binary.LittleEndian.Uint64(value))
	case id == CodecFloat32 && len(value) == 4:
		*(*float64)(v) = float64(math.Float32frombits(binary.LittleEndian.Uint32(value)))
	case id == CodecFloat32 || id == CodecFloat64:
		return badScalar(id, value)
	default:
		return wrongScalar(id, "a float")
	}
	return nil
}

func putBool(b []byte, v unsafe.Pointer) []byte {
	if *(*bool)(v) {
		return append(b, 1)
	}
	return append(b, 0)
}

func takeBool(id CodecID, value []byte, v unsafe.Pointer) error {
	if id != CodecBool {
		return wrongScalar(id, "a bool")
	}
	if len(value) != 1 || value[0] > 1 {
		return badScalar(id, value)
	}
	*(*bool)(v) = value[0] == 1
	return nil
}

func putString(b []byte, v unsafe.Pointer) []byte { return append(b, *(*string)(v)...) }

func takeString(id CodecID, value []byte, v unsafe.Pointer) error {
	if id != CodecBytes {
		return wrongScalar(id, "a string")
	}
	*(*string)(v) = string(value)
	return nil
}

func putBytes(b []byte, v unsafe.Pointer) []byte { return append(b, *(*[]byte)(v)...) }

func takeBytes(id CodecID, value []byte, v unsafe.Pointer) error {
	if id != CodecBytes {
		return wrongScalar(id, "bytes")
	}
	p := (*[]byte)(v)
	*p = append((*p)[:0], value...)
	return nil
}

func badScalar(id CodecID, value []byte) error {
	return fmt.Errorf("%w: %d bytes are no %v", ErrCorrupt, len(value), id)
}

func wrongScalar(id CodecID, want string) error {
	return fmt.Errorf("it was stored as %v and cannot be read as %s", id, want)
}
