package postgres

import (
	"encoding/binary"
	"fmt"
)

// Statements get their parameters, and give their results, in PostgreSQL's binary form.

// OIDs of the types of parameters.
const (
	oidBytea      = 17
	oidInt8       = 20
	oidInt4       = 23
	oidText       = 25
	oidBytesArray = 1001
	oidInt8Array  = 1016
)

// param is a parameter as it is sent.
type param struct {
	oid   uint32 // 0: what the statement says
	value []byte // nil: null
	text  bool   // it is in the text form instead
}

func int8Param(n int64) param {
	return param{oid: oidInt8, value: binary.BigEndian.AppendUint64(nil, uint64(n))}
}

func int4Param(n int32) param {
	return param{oid: oidInt4, value: binary.BigEndian.AppendUint32(nil, uint32(n))}
}

func textParam(s string) param {
	return param{oid: oidText, value: []byte(s)}
}
func bytesParam(s string) param { return param{oid: oidBytea, value: []byte(s)} }

// array is a growing parameter of the type bytea[].
type array struct {
	buf []byte
	n   uint32
}

const arrayHeader = 20

// reset empties the array and keeps its memory, unless that is much.
func (a *array) reset() {
	if cap(a.buf) > 4<<20 {
		a.buf = nil
	}
	a.buf, a.n = append(a.buf[:0], make([]byte, arrayHeader)...), 0
}

// append adds a copy of an element.
func (a *array) append(key string) {
	a.buf = append(binary.BigEndian.AppendUint32(a.buf, uint32(len(key))), key...)
	a.n++
}

func (a *array) appendBytes(value []byte) {
	a.buf = append(binary.BigEndian.AppendUint32(a.buf, uint32(len(value))), value...)
	a.n++
}

// param returns the array as it is, until the next reset.
func (a *array) param() param {
	h := a.buf[:arrayHeader]
	binary.BigEndian.PutUint32(h, 1)            // dimensions
	binary.BigEndian.PutUint32(h[4:], 0)        // no nulls
	binary.BigEndian.PutUint32(h[8:], oidBytea) // of the elements
	binary.BigEndian.PutUint32(h[12:], a.n)     // elements
	binary.BigEndian.PutUint32(h[16:], 1)       // the first one's index
	if a.n == 0 {
		return param{oid: oidBytesArray, value: []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, oidBytea}}
	}
	return param{oid: oidBytesArray, value: a.buf}
}

// int8Array is a parameter of the type int8[].
func int8Array(ns []int64) param {
	if len(ns) == 0 {
		return param{oid: oidInt8Array, value: []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, oidInt8}}
	}
	b := make([]byte, 0, arrayHeader+12*len(ns))
	for _, n := range []uint32{1, 0, oidInt8, uint32(len(ns)), 1} { // as in array.param
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, n := range ns {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(b, 8), uint64(n))
	}
	return param{oid: oidInt8Array, value: b}
}

// fields reads a row's columns from left to right and keeps the first failure.
type fields struct {
	values [][]byte
	err    error
}

func (f *fields) next(size int) []byte {
	if f.err == nil && len(f.values) == 0 {
		f.err = fmt.Errorf("the server's answer lacks a column")
	}
	if f.err != nil {
		return make([]byte, max(size, 0))
	}
	v := f.values[0]
	f.values = f.values[1:]
	if size >= 0 && len(v) != size {
		f.err = fmt.Errorf("the server's answer has %d bytes in a column of %d", len(v), size)
		return make([]byte, size)
	}
	return v
}

func (f *fields) int8() int64  { return int64(binary.BigEndian.Uint64(f.next(8))) }
func (f *fields) int4() int32  { return int32(binary.BigEndian.Uint32(f.next(4))) }
func (f *fields) bool() bool   { return f.next(1)[0] != 0 }
func (f *fields) text() string { return string(f.next(-1)) }

// bytes returns the column in the connection's memory.
func (f *fields) bytes() []byte { return f.next(-1) }
