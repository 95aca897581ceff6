package stateful

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"
)

// The modes are chosen so that whatever can be written can be read again: times
// keep their nanoseconds, strings need not be UTF-8, and the only limits are
// those of the bytes at hand.
var (
	cborEnc = mode(cborEncOptions().UserBufferEncMode())
	cborDec = mode(cbor.DecOptions{
		MaxArrayElements: math.MaxInt32, // the bytes are walked before anything is allocated
		MaxMapPairs:      math.MaxInt32,
		MaxNestedLevels:  65535,
		UTF8:             cbor.UTF8DecodeInvalid,
		IntDec:           cbor.IntDecConvertSignedOrBigInt,
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
	}.DecMode())
)

func cborEncOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC
	o.TextMarshaler = cbor.TextMarshalerTextString
	return o
}

func mode[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var cborBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// appendCBOR appends v to b through a buffer that writes behind b in place.
func appendCBOR(b []byte, v any) ([]byte, error) {
	buf := cborBuffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(b)
	err := cborEnc.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	cborBuffers.Put(buf)
	if err != nil {
		return b, err
	}
	return out, nil
}

// jsonAppender is an encoder that writes behind the bytes it is given;
// json.Marshal would allocate a slice for every value.
type jsonAppender struct {
	b   []byte
	enc *json.Encoder
}

func (a *jsonAppender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

var jsonAppenders = sync.Pool{New: func() any {
	a := new(jsonAppender)
	a.enc = json.NewEncoder(a)
	a.enc.SetEscapeHTML(false)
	return a
}}

// appendJSON appends v to b, without the newline that an Encoder ends with.
func appendJSON(b []byte, v any) ([]byte, error) {
	a := jsonAppenders.Get().(*jsonAppender)
	a.b = b
	err := a.enc.Encode(v)
	out := a.b
	a.b = nil
	jsonAppenders.Put(a)
	if err != nil {
		return b, err
	}
	return out[:len(out)-1], nil
}

// decodeMsgp walks the value before the type's method sees it: generated code
// allocates what a length says, whether or not the bytes are there.
func decodeMsgp(value []byte, into msgp.Unmarshaler) error {
	rest, err := msgp.Skip(value)
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes follow the value", ErrCorrupt, len(rest))
	}
	if err == nil {
		rest, err = into.UnmarshalMsg(value)
	}
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("%w: its method left %d bytes unread", ErrCorrupt, len(rest))
	}
	return err
}

// decodeValue reads a value that was stored with the codec id into what into
// points to, which is zero.
func decodeValue(id CodecID, value []byte, into any) error {
	switch id {
	case CodecBinary:
		u, ok := into.(encoding.BinaryUnmarshaler)
		if !ok {
			return fmt.Errorf("it was stored with AppendBinary, and %T has no UnmarshalBinary", into)
		}
		return u.UnmarshalBinary(value)
	case CodecMsgp:
		u, ok := into.(msgp.Unmarshaler)
		if !ok {
			return fmt.Errorf("it was stored with MarshalMsg, and %T has no UnmarshalMsg", into)
		}
		return decodeMsgp(value, u)
	case CodecCBOR:
		return cborDec.Unmarshal(value, into)
	case CodecJSON:
		return json.Unmarshal(value, into)
	}
	p := reflect.ValueOf(into)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return errors.New("decode needs a pointer to what it shall fill")
	}
	s := scalarOf(p.Type().Elem())
	if s == nil {
		return fmt.Errorf("it was stored as %v and cannot be read into %T", id, into)
	}
	return s.decode(id, value, p.UnsafePointer())
}
