package stateful

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"
)

// shapeWalk describes a type as the codec sees it, and collects what the codec
// would lose or could not read again.
type shapeWalk struct {
	id   CodecID
	out  strings.Builder
	seen map[reflect.Type]int // the place of each struct, for types that hold themselves
	errs []error

	at    string // the name, among the parts, of what is being described
	parts []SchemaPart
}

// shapeOf returns the shape of t under the codec id, its parts, and every fault of it.
func shapeOf(t reflect.Type, id CodecID) (string, []SchemaPart, error) {
	w := &shapeWalk{id: id, seen: map[reflect.Type]int{}}
	switch id {
	case CodecBinary:
		w.promoted(t, reflect.TypeFor[encoding.BinaryAppender]())
		w.ownFields(t)
		w.part("bytes of the type's own")
	case CodecMsgp:
		w.promoted(t, reflect.TypeFor[msgp.Marshaler]())
		w.ownFields(t)
		w.part("msgp")
	default:
		w.walk(t, "the value")
	}
	return w.out.String(), w.parts, errors.Join(w.errs...)
}

// part takes note of the kind of what is being described.
func (w *shapeWalk) part(kind string) {
	p := SchemaPart{Name: w.at, Kind: kind}
	if kind == reflect.String.String() && w.id < CodecBinary {
		p.Kind = "bytes" // stored as such
	}
	if !slices.Contains(w.parts, p) { // as of an embedded struct
		w.parts = append(w.parts, p)
	}
}

// within describes a part of what is being described.
func (w *shapeWalk) within(name string, describe func()) {
	was := w.at
	w.at += name
	describe()
	w.at = was
}

// basicKind names the kinds that can be read into one another alike.
func basicKind(k reflect.Kind) string {
	switch k {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Float32, reflect.Float64:
		return "float"
	}
	return k.String()
}

// fingerprint makes "cbor/2/1f3a0c55e0b19d24" of a codec, a version and a shape.
func fingerprint(id CodecID, version uint32, shape string) string {
	return fmt.Sprintf("%v/%d/%016x", id, version, xxhash.Sum64String(shape))
}

// promoted refuses a struct that embeds a type with the method that writes it,
// beside other fields: the method becomes the struct's own and knows nothing of
// the other fields.
func (w *shapeWalk) promoted(t, write reflect.Type) {
	if t.Kind() != reflect.Struct || t.NumField() < 2 {
		return
	}
	for f := range fieldsOf(t) {
		if f.Anonymous && (f.Type.Implements(write) || reflect.PointerTo(f.Type).Implements(write)) {
			w.fault("%v embeds %v, whose encoding would be taken for that of the whole and forget the other fields: "+
				"give that field a name", t, f.Type)
		}
	}
}

// ownFields describes the fields of a type that encodes itself, as the nearest
// thing to the bytes it writes.
func (w *shapeWalk) ownFields(t reflect.Type) {
	w.out.WriteString(t.Kind().String())
	if t.Kind() != reflect.Struct {
		return
	}
	w.out.WriteByte('{')
	for f := range fieldsOf(t) {
		fmt.Fprintf(&w.out, "%s %s %q;", f.Name, f.Type.Kind(), f.Tag)
	}
	w.out.WriteByte('}')
}

func (w *shapeWalk) walk(t reflect.Type, path string) {
	if w.opaque(t) {
		w.out.WriteString(t.String())
		w.part(t.String())
		return
	}
	switch k := t.Kind(); k {
	case reflect.Pointer:
		w.nested("*", t.Elem(), path)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			w.part("bytes")
		} else {
			w.part("list")
		}
		w.within("[]", func() { w.nested("[]", t.Elem(), path) })
	case reflect.Array:
		w.part("list")
		w.within("[]", func() { w.nested("["+strconv.Itoa(t.Len())+"]", t.Elem(), path) })
	case reflect.Map:
		w.part("map")
		w.within("{key}", func() { w.nested("map[", t.Key(), path+"'s keys") })
		w.within("{}", func() { w.nested("]", t.Elem(), path) })
	case reflect.Interface:
		w.part("any")
		if t.NumMethod() > 0 {
			w.fault("%s is the interface %v, which could be written but not read: use a concrete type", path, t)
		}
		w.out.WriteString("any")
	case reflect.Struct:
		w.structure(t, path)
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.Uintptr, reflect.UnsafePointer:
		w.fault("%s is a %v, which has no encoding: leave it out with the tag `%s:\"-\"`, or use another type", path, k, w.tagName())
	default:
		w.part(basicKind(k))
		w.out.WriteString(k.String())
	}
}

func (w *shapeWalk) nested(prefix string, t reflect.Type, path string) {
	w.out.WriteString(prefix)
	w.walk(t, path)
}

func (w *shapeWalk) structure(t reflect.Type, path string) {
	w.part("fields")
	if n, again := w.seen[t]; again {
		fmt.Fprintf(&w.out, "^%d", n)
		return
	}
	w.seen[t] = len(w.seen)
	w.out.WriteByte('{')
	stored, lost := 0, 0
	for f := range fieldsOf(t) {
		tag := w.tag(f)
		if tag == "-" {
			stored++ // left out on purpose
			continue
		}
		if !f.IsExported() && !embedsStruct(f) {
			if f.Name != "_" {
				lost++
			}
			continue
		}
		if !f.IsExported() && f.Type.Kind() == reflect.Pointer {
			w.fault("%s embeds a pointer to the unexported %v, which cannot be read again: embed the struct itself", path, f.Type.Elem())
		}
		stored++
		fmt.Fprintf(&w.out, "%s %q ", f.Name, tag)
		w.within(fieldName(f, tag), func() { w.walk(f.Type, path+"."+f.Name) })
		w.out.WriteByte(';')
	}
	w.out.WriteByte('}')
	if stored == 0 && lost > 0 {
		w.fault("%s is a %v, of which nothing would be stored, for all its fields are unexported: "+
			"export them, or give it AppendBinary and UnmarshalBinary, or leave it out with the tag `%s:\"-\"`", path, t, w.tagName())
	}
}

// fieldName returns what a field adds to the name of a part: what it is stored under, and
// nothing for an embedded struct, whose fields are stored as those of the one around it.
func fieldName(f reflect.StructField, tag string) string {
	name, _, _ := strings.Cut(tag, ",")
	switch {
	case name != "":
		return "/" + name
	case embedsStruct(f):
		return ""
	}
	return "/" + f.Name
}

func embedsStruct(f reflect.StructField) bool {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return f.Anonymous && t.Kind() == reflect.Struct
}

func (w *shapeWalk) tagName() string {
	if w.id == CodecJSON {
		return "json"
	}
	return "cbor"
}

func (w *shapeWalk) tag(f reflect.StructField) string {
	if tag, ok := f.Tag.Lookup(w.tagName()); ok {
		return tag
	}
	return f.Tag.Get("json") // the CBOR library falls back to it too
}

// opaque reports whether t encodes itself under this codec. One that writes
// itself but cannot read what it wrote is a fault.
func (w *shapeWalk) opaque(t reflect.Type) bool {
	if w.id < CodecBinary {
		return false
	}
	if t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[big.Int]() {
		return true
	}
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	for _, m := range methodPairs[w.id == CodecJSON] {
		p := reflect.PointerTo(t)
		switch {
		case !p.Implements(m.write):
		case !p.Implements(m.read):
			w.fault("%v has %s but no %s, so it could be written and not read: add the other method", t, m.write, m.read)
			return true
		default:
			w.promoted(t, m.write)
			return true
		}
	}
	return false
}

// methodPairs are the methods each library looks for, in its order: those of
// encoding/json under true, of CBOR under false.
var methodPairs = map[bool][]struct{ write, read reflect.Type }{
	true: {
		{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()},
		{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
	},
	false: {
		{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()},
		{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
		{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
	},
}

func (w *shapeWalk) fault(format string, args ...any) {
	w.errs = append(w.errs, fmt.Errorf(format, args...))
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}
