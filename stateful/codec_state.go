package stateful

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/tinylib/msgp/msgp"
)

// Format chooses how a [StateCodec] writes values. Reading goes by what is
// stored, so a changed Format takes hold of each value when it is next written.
type Format uint8

// The formats of state.
const (
	// Auto takes the type's own AppendBinary and UnmarshalBinary if it has both,
	// else its generated msgp methods, else a native encoding for numbers, bools,
	// strings and byte slices, else CBOR.
	Auto Format = iota
	// CBOR is deterministic (RFC 8949, 4.2). Exported fields are stored under the
	// name in their cbor or json tag; `cbor:"1,keyasint"` makes it a small number.
	// A time keeps its nanoseconds and becomes UTC; a field of type any comes back
	// as the decoder's own types.
	CBOR
	// JSON is readable in the store, for debugging: larger, slower, and without
	// NaN, infinities and strings that are not UTF-8.
	JSON
)

// StateCodecConfig configures a [StateCodec]. The zero value is ready to use.
type StateCodecConfig[T any] struct {
	// Version of the schema of T. Raise it, and set Migrate, with every change of T
	// that the stored bytes of the old one cannot be read into. Default 1.
	Version uint32

	// Migrate makes a T of a value stored as version from, which is at least 1 and below
	// Version. It calls decode with a pointer to a zero value of the type T was
	// then; decode may be called again with another type. Values are migrated when they are
	// read and stored again when they are next written. Many goroutines may call it.
	Migrate func(from uint32, decode func(into any) error) (T, error)

	// Format of the bytes. Default Auto.
	Format Format
}

// StateCodec turns values of state into stored bytes and back. How is decided
// once, when it is made. It may be used by several goroutines at once, with
// different values.
type StateCodec[T any] struct {
	id          CodecID
	version     uint32
	plain       byte    // the whole header when nothing follows its first byte, else 0
	scalar      *scalar // nil when T is not of a basic kind
	migrate     func(uint32, func(any) error) (T, error)
	fingerprint string
	parts       []SchemaPart
}

// NewStateCodec returns the codec of T. It refuses a T of which something would
// be lost, or could be written and not read again; the error names every such
// part and what to do.
//
// AppendBinary and UnmarshalBinary of a T that has them must be each other's
// inverse, UnmarshalBinary must check lengths against what is there before it
// allocates, and must not keep the bytes.
func NewStateCodec[T any](cfg StateCodecConfig[T]) (*StateCodec[T], error) {
	t := reflect.TypeFor[T]()
	id, err := chooseCodec(t, cfg.Format)
	if err != nil {
		return nil, fmt.Errorf("stateful: state of type %v: %w", t, err)
	}
	shape, parts, err := shapeOf(t, id)
	if err != nil {
		return nil, fmt.Errorf("stateful: state of type %v cannot be stored: %w", t, err)
	}
	c := &StateCodec[T]{id: id, version: max(cfg.Version, 1), migrate: cfg.Migrate, scalar: scalarOf(t), parts: parts}
	if c.version == 1 {
		c.plain = headerV1 | byte(id)
	}
	c.fingerprint = fingerprint(id, c.version, shape)
	return c, nil
}

func chooseCodec(t reflect.Type, f Format) (CodecID, error) {
	switch f {
	case CBOR:
		return CodecCBOR, nil
	case JSON:
		return CodecJSON, nil
	case Auto:
	default:
		return 0, fmt.Errorf("format %d does not exist: use Auto, CBOR or JSON", f)
	}
	if hasBinary(t) {
		return CodecBinary, nil
	}
	if hasMsgp(t) {
		return CodecMsgp, nil
	}
	if s := scalarOf(t); s != nil {
		return s.id, nil
	}
	return CodecCBOR, nil
}

func hasBinary(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[encoding.BinaryAppender]()) &&
		p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]())
}

func hasMsgp(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[msgp.Marshaler]()) && p.Implements(reflect.TypeFor[msgp.Unmarshaler]())
}

// Append appends the header and encoding of *v to b and returns the longer
// slice. The expiry is in milliseconds since 1970 UTC, or [NoExpiry]; see
// [ExpiryAt]. When it fails it returns b as it was.
func (c *StateCodec[T]) Append(b []byte, v *T, expiry int64) ([]byte, error) {
	out := b
	if c.plain != 0 && expiry == NoExpiry {
		out = append(out, c.plain)
	} else {
		out = AppendValueHeader(out, ValueHeader{Codec: c.id, Schema: c.version, Expiry: expiry})
	}
	if c.id < CodecBinary {
		return c.scalar.append(out, unsafe.Pointer(v)), nil
	}
	out, err := c.appendValue(out, v)
	if err != nil {
		return b, fmt.Errorf("stateful: encode %T as %v: %w", *v, c.id, err)
	}
	return out, nil
}

func (c *StateCodec[T]) appendValue(b []byte, v *T) ([]byte, error) {
	switch c.id {
	case CodecBinary:
		return any(v).(encoding.BinaryAppender).AppendBinary(b)
	case CodecMsgp:
		return any(v).(msgp.Marshaler).MarshalMsg(b)
	case CodecJSON:
		return appendJSON(b, v)
	default:
		return appendCBOR(b, v)
	}
}

// Decode reads the value in b into *v and returns its expiry, [NoExpiry] when it
// has none; expired values are read like others. What *v held is gone, but a
// byte slice is written into the memory it has when it fits there; nothing of b
// is kept, and an empty byte slice may come back as nil. A value of an older
// schema is migrated.
//
// Errors wrap [ErrCorrupt] or [ErrNewerSchema] where that is the cause, leave *v
// undefined, and are faults of the task, not of the record in hand ([TaskFault]).
func (c *StateCodec[T]) Decode(b []byte, v *T) (expiry int64, err error) {
	h, value, err := ParseValueHeader(b)
	if err != nil {
		return 0, TaskFault(err)
	}
	switch {
	case h.Schema != c.version:
		err = c.decodeOther(h, value, v)
	case h.Codec < CodecBinary && c.scalar != nil:
		err = c.scalar.decode(h.Codec, value, unsafe.Pointer(v))
	case h.Codec == CodecBinary && c.id == CodecBinary:
		*v = *new(T) // decoders leave what the bytes do not mention
		err = any(v).(encoding.BinaryUnmarshaler).UnmarshalBinary(value)
	default:
		*v = *new(T)
		err = decodeValue(h.Codec, value, v)
	}
	if err != nil {
		return 0, c.fault(h, err)
	}
	return h.Expiry, nil
}

func (c *StateCodec[T]) decodeOther(h ValueHeader, value []byte, v *T) error {
	if h.Schema > c.version {
		return fmt.Errorf("%w: it was written as version %d and this build knows up to %d: "+
			"deploy the newer build again, or restore a checkpoint made before it ran", ErrNewerSchema, h.Schema, c.version)
	}
	if c.migrate == nil {
		return fmt.Errorf("it was written as version %d, this build has version %d and no Migrate: "+
			"set Migrate in the StateCodecConfig", h.Schema, c.version)
	}
	migrated, err := c.migrate(h.Schema, func(into any) error {
		if into == nil {
			return errors.New("decode needs a pointer to what it shall fill")
		}
		return decodeValue(h.Codec, value, into)
	})
	if err != nil {
		return fmt.Errorf("migrate from version %d to %d: %w", h.Schema, c.version, err)
	}
	*v = migrated
	return nil
}

func (c *StateCodec[T]) fault(h ValueHeader, err error) error {
	return TaskFault(fmt.Errorf("stateful: decode %v stored as %v: %w", reflect.TypeFor[T](), h.Codec, err))
}

// Schema returns what stored values of T are, as parts of what name says, for a [Plan]. Names of types
// and their fields' order do not matter, nor what can be read into one another: CBOR and JSON, numbers of
// other sizes. A field that comes or goes is no change of the others.
func (c *StateCodec[T]) Schema(name string) []SchemaPart {
	parts := make([]SchemaPart, len(c.parts))
	for i, p := range c.parts {
		parts[i] = SchemaPart{Name: name + p.Name, Kind: p.Kind, Version: c.version}
	}
	return parts
}

// Fingerprint returns a short text that changes with the codec, the schema's
// version and the shape of T (its fields, their types and tags), and with
// nothing else: T and its packages may be renamed. The fields of types with
// methods of their own for encoding stand by the name of that type.
func (c *StateCodec[T]) Fingerprint() string { return c.fingerprint }
