package stateful

import (
	"context"
	"encoding/binary"
	"iter"
	"reflect"
	"time"
	"unsafe"
)

// MapKey is what a [Map] can be keyed by.
type MapKey interface {
	~string | ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Map is a map from K to V per key. Each entry is stored, and expires, by itself. Name is required. See [State]
// for what all states have in common.
type Map[K MapKey, V any] struct {
	Name  string              // as in [Value]
	TTL   time.Duration       // as in [Value], of each entry
	Clock TimerKind           // as in [Value]
	State StateCodecConfig[V] // how values are stored
}

// MapEntry is an entry of a [Map].
type MapEntry[K MapKey, V any] struct {
	Key   K
	Value V
}

// StateName implements [State].
func (m *Map[K, V]) StateName() string { return m.Name }

// Validate implements [State].
func (m *Map[K, V]) Validate() error { return checkState(m.Name, m.TTL, m.Clock, m.State) }

// Schema implements [State].
func (m *Map[K, V]) Schema() []SchemaPart {
	kind := "map by signed integer"
	switch k := reflect.TypeFor[K]().Kind(); {
	case k == reflect.String:
		kind = "map by string"
	case k >= reflect.Uint:
		kind = "map by unsigned integer"
	}
	return stateSchema(m.Name, kind, m.TTL, m.Clock, m.State)
}

// cell returns the cell of an entry.
func (m *Map[K, V]) cell(ctx context.Context, at Scope, k K) (*cells[V], *Cell[lasting[V]], error) {
	s, err := m.cells(at)
	if err != nil {
		return nil, nil, err
	}
	s.key = appendMapKey(appendPart(s.key[:0], at.Key), k)
	if c := s.table.Find(s.key); c != nil {
		return s, c, nil
	}
	c, err := s.load(ctx, string(s.key))
	return s, c, err
}

func (m *Map[K, V]) cells(at Scope) (*cells[V], error) {
	return cellsOf(at.Tx, m.Name, m.TTL, m.Clock, &m.State)
}

// Get returns the value of k and whether there is one.
func (m *Map[K, V]) Get(ctx context.Context, at Scope, k K) (value V, ok bool, err error) {
	s, c, err := m.cell(ctx, at, k)
	if err != nil {
		return value, false, err
	}
	value, ok = s.get(at.Tx, c)
	return value, ok, nil
}

// Put sets the value of k.
func (m *Map[K, V]) Put(ctx context.Context, at Scope, k K, value V) error {
	s, c, err := m.cell(ctx, at, k)
	if err != nil {
		return err
	}
	return s.put(at.Tx, c, value)
}

// Delete takes the value of k away.
func (m *Map[K, V]) Delete(ctx context.Context, at Scope, k K) error {
	s, c, err := m.cell(ctx, at, k)
	if err == nil {
		s.delete(at.Tx, c)
	}
	return err
}

// All yields the entries in ascending order of their keys, which is byte order for strings. The map may be changed
// meanwhile; an entry that is added may be missing.
func (m *Map[K, V]) All(ctx context.Context, at Scope) iter.Seq2[MapEntry[K, V], error] {
	return func(yield func(MapEntry[K, V], error) bool) {
		s, err := m.cells(at)
		if err != nil {
			yield(MapEntry[K, V]{}, err)
			return
		}
		for c, err := range s.all(ctx, at.Key) {
			if err != nil {
				yield(MapEntry[K, V]{}, err)
				return
			}
			if v, ok := s.get(at.Tx, c); ok && !yield(MapEntry[K, V]{parseMapKey[K](afterPart(c.Key(), at.Key)), v}, nil) {
				return
			}
		}
	}
}

// Clear takes all entries away. It reads each of them.
func (m *Map[K, V]) Clear(ctx context.Context, at Scope) error {
	s, err := m.cells(at)
	if err != nil {
		return err
	}
	return s.clear(ctx, at)
}

// all yields the cells whose keys begin with a part, expired ones included.
func (s *cells[T]) all(ctx context.Context, part string) iter.Seq2[*Cell[lasting[T]], error] {
	from := appendPart(nil, part)
	return s.table.Range(ctx, from, pastPrefix(from))
}

func (s *cells[T]) clear(ctx context.Context, at Scope) error {
	for c, err := range s.all(ctx, at.Key) {
		if err != nil {
			return err
		}
		s.delete(at.Tx, c)
	}
	return nil
}

// pastPrefix returns the first key behind all that begin with prefix, which has a byte below 255.
func pastPrefix(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// appendPart appends a key such that none is the beginning of another.
func appendPart(b []byte, key string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

// afterPart returns what follows the part in full.
func afterPart(full, part string) string {
	n := len(part) + 1
	for l := len(part); l >= 0x80; l >>= 7 {
		n++
	}
	return full[n:]
}

// appendMapKey appends k so that byte order is the order of K: integers in 8 bytes, big endian,
// signed ones with the top bit flipped.
func appendMapKey[K MapKey](b []byte, k K) []byte {
	p := unsafe.Pointer(&k) // as in codec_scalar.go
	switch reflect.TypeFor[K]().Kind() {
	case reflect.String:
		return append(b, *(*string)(p)...)
	case reflect.Int:
		return AppendOrdered(b, int64(*(*int)(p)))
	case reflect.Int8:
		return AppendOrdered(b, int64(*(*int8)(p)))
	case reflect.Int16:
		return AppendOrdered(b, int64(*(*int16)(p)))
	case reflect.Int32:
		return AppendOrdered(b, int64(*(*int32)(p)))
	case reflect.Int64:
		return AppendOrdered(b, *(*int64)(p))
	case reflect.Uint:
		return binary.BigEndian.AppendUint64(b, uint64(*(*uint)(p)))
	case reflect.Uint8:
		return binary.BigEndian.AppendUint64(b, uint64(*(*uint8)(p)))
	case reflect.Uint16:
		return binary.BigEndian.AppendUint64(b, uint64(*(*uint16)(p)))
	case reflect.Uint32:
		return binary.BigEndian.AppendUint64(b, uint64(*(*uint32)(p)))
	default:
		return binary.BigEndian.AppendUint64(b, *(*uint64)(p))
	}
}

// parseMapKey is the inverse of appendMapKey.
func parseMapKey[K MapKey](s string) K {
	var k K
	v := reflect.ValueOf(&k).Elem()
	switch {
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.CanInt():
		v.SetInt(ParseOrdered(s))
	default:
		v.SetUint(uint64(ParseOrdered(s)) ^ 1<<63)
	}
	return k
}
