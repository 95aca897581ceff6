package stateful

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrCorrupt is wrapped by the error of a decode whose bytes are not a stored
// value: they were cut, damaged, or written by something else.
var ErrCorrupt = errors.New("stateful: stored value is corrupt")

// ErrNewerSchema is wrapped by the error of a decode whose value was written by
// a newer version of the program. Nothing was changed; deploy that version again.
var ErrNewerSchema = errors.New("stateful: stored value is of a newer schema")

// CodecID says how the bytes behind a [ValueHeader] are to be read. The numbers
// are stored: one that was given is never given another meaning.
type CodecID uint8

// The codecs of stored values.
const (
	CodecInt     CodecID = 1  // zigzag varint
	CodecUint    CodecID = 2  // varint
	CodecFloat32 CodecID = 3  // IEEE 754 bits, 4 bytes, little endian
	CodecFloat64 CodecID = 4  // IEEE 754 bits, 8 bytes, little endian
	CodecBool    CodecID = 5  // one byte, 0 or 1
	CodecBytes   CodecID = 6  // a string or byte slice as it is
	CodecBinary  CodecID = 7  // what the type's AppendBinary wrote
	CodecMsgp    CodecID = 8  // what the type's generated MarshalMsg wrote
	CodecCBOR    CodecID = 9  // RFC 8949, core deterministic
	CodecJSON    CodecID = 10 // encoding/json

	codecs = 11 // one more than the last
)

var codecNames = [codecs]string{
	"unknown", "int", "uint", "float32", "float64", "bool", "bytes", "binary", "msgp", "cbor", "json",
}

// String returns the codec's name, as it stands in fingerprints.
func (c CodecID) String() string {
	if c < codecs {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// NoExpiry is the expiry of a value that never expires.
const NoExpiry int64 = 0

// ExpiryAt returns the expiry of a value written at the time written, in
// milliseconds since 1970 UTC, with the given ttl: the first millisecond at which
// it is gone. A ttl of 0 or less is [NoExpiry]; parts of a millisecond count as
// a whole one; a time beyond the range of int64 never comes and is NoExpiry too.
// The sum 0, which would read as NoExpiry, becomes 1.
func ExpiryAt(written int64, ttl time.Duration) int64 {
	if ttl <= 0 {
		return NoExpiry
	}
	ms := ttl.Milliseconds()
	if ttl%time.Millisecond != 0 {
		ms++
	}
	if written > math.MaxInt64-ms {
		return NoExpiry
	}
	if at := written + ms; at != 0 {
		return at
	}
	return 1
}

// ValueHeader stands in front of every stored value. Its first byte holds, from
// the top, two bits for the format's version (01), one that says a schema version
// follows, one that says an expiry follows, and four for the codec. The schema
// follows as a varint when it is above 1, the expiry as a zigzag varint when
// there is one; so most headers are one byte.
type ValueHeader struct {
	Codec  CodecID
	Schema uint32 // version of the value's type, at least 1; 0 is written as 1
	Expiry int64  // milliseconds since 1970 UTC at which the value is gone, or NoExpiry
}

const (
	headerV1      = 0x40
	headerVersion = 0xc0
	headerSchema  = 0x20
	headerExpiry  = 0x10
	headerCodec   = 0x0f
)

// AppendValueHeader appends h to b.
func AppendValueHeader(b []byte, h ValueHeader) []byte {
	first := headerV1 | byte(h.Codec)&headerCodec
	if h.Schema > 1 {
		first |= headerSchema
	}
	if h.Expiry != NoExpiry {
		first |= headerExpiry
	}
	b = append(b, first)
	if h.Schema > 1 {
		b = binary.AppendUvarint(b, uint64(h.Schema))
	}
	if h.Expiry != NoExpiry {
		b = binary.AppendVarint(b, h.Expiry)
	}
	return b
}

// ParseValueHeader splits b into its header and the encoded value, which shares
// b's memory. Bytes that are not a header are an [ErrCorrupt].
func ParseValueHeader(b []byte) (h ValueHeader, value []byte, err error) {
	if len(b) > 0 && b[0]&^headerCodec == headerV1 {
		h, value = ValueHeader{Codec: CodecID(b[0] & headerCodec), Schema: 1}, b[1:]
	} else if h, value, err = parseLongHeader(b); err != nil {
		return ValueHeader{}, nil, err
	}
	if h.Codec == 0 || h.Codec >= codecs {
		return ValueHeader{}, nil, fmt.Errorf("%w: its codec is %d, which this build does not know", ErrCorrupt, h.Codec)
	}
	return h, value, nil
}

func parseLongHeader(b []byte) (ValueHeader, []byte, error) {
	if len(b) == 0 {
		return ValueHeader{}, nil, fmt.Errorf("%w: it has no header", ErrCorrupt)
	}
	first := b[0]
	if first&headerVersion != headerV1 {
		return ValueHeader{}, nil, fmt.Errorf("%w: its format version is %d, this build reads 1", ErrCorrupt, first>>6)
	}
	h, b := ValueHeader{Codec: CodecID(first & headerCodec), Schema: 1}, b[1:]
	if first&headerSchema != 0 {
		schema, rest, err := takeUvarint(b)
		if err != nil || schema < 2 || schema > math.MaxUint32 {
			return ValueHeader{}, nil, fmt.Errorf("%w: the schema version in its header cannot be read", ErrCorrupt)
		}
		h.Schema, b = uint32(schema), rest
	}
	if first&headerExpiry != 0 {
		zigzag, rest, err := takeUvarint(b)
		if err != nil || zigzag == 0 {
			return ValueHeader{}, nil, fmt.Errorf("%w: the expiry in its header cannot be read", ErrCorrupt)
		}
		h.Expiry, b = unzigzag(zigzag), rest
	}
	return h, b, nil
}

// ValueExpiry returns the expiry in the header of a stored value without reading
// the value, [NoExpiry] when it has none.
func ValueExpiry(b []byte) (int64, error) {
	h, _, err := ParseValueHeader(b)
	return h.Expiry, err
}

// takeUvarint reads a varint that is not longer than it needs to be, so that
// each number has one encoding.
func takeUvarint(b []byte) (uint64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 {
		return 0, nil, ErrCorrupt
	}
	return n, b[size:], nil
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
