package handlers

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/pondage/pondage/stateful"
)

// List keeps of(event) of each event, in the order of arrival. An event that would be one more than
// limit is a permanent error: it changes nothing. All of it is stored again with each
// commit that changes it, so a long list is better kept by a [Keyed] with a [stateful.List].
func List[E, T any](limit int, of func(E) T) Aggregate[E, Items[T]] {
	full := func(n int) error {
		return stateful.Permanent(fmt.Errorf("the list has %d values, and its limit is %d", n, limit))
	}
	a := Aggregate[E, Items[T]]{
		Fold: func(l Items[T], event E) (Items[T], error) {
			if l.Len() >= limit {
				return l, full(l.Len())
			}
			return Items[T]{l.tail.with(of(event))}, nil
		},
		Merge: func(a, b Items[T]) (Items[T], error) {
			n := a.Len() + b.Len()
			if n > limit {
				return a, full(n)
			}
			return itemsOf(append(append(make([]T, 0, n), a.All()...), b.All()...)), nil
		},
	}
	if limit < 1 || of == nil {
		a.fault = errors.New("List needs a limit of at least 1 and a function that returns what to keep")
	} else if _, err := codecOf[T](); err != nil {
		a.fault = err
	}
	a.part = partOf(listKind, a)
	return a
}

// Items is the value of [List]. Its JSON is an array.
type Items[T any] struct{ tail tail[T] }

func itemsOf[T any](all []T) Items[T] {
	return Items[T]{tail[T]{&tailMem[T]{all}, len(all)}}
}

// Len returns how many there are.
func (l Items[T]) Len() int { return l.tail.n }

// All returns them in order. They must not be changed.
func (l Items[T]) All() []T { return l.tail.items() }

// MarshalJSON implements [json.Marshaler].
func (l Items[T]) MarshalJSON() ([]byte, error) {
	if l.Len() == 0 {
		return []byte("[]"), nil
	}
	return stateful.JSONCodec{}.Append(nil, l.All())
}

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Items[T]) UnmarshalJSON(b []byte) error {
	var all []T
	if err := (stateful.JSONCodec{}).Decode(b, &all); err != nil {
		return err
	}
	*l = itemsOf(all)
	return nil
}

// AppendBinary implements [encoding.BinaryAppender]: a []T as the state codec writes it, its header included.
func (l *Items[T]) AppendBinary(b []byte) ([]byte, error) {
	codec, err := codecOf[T]()
	if err != nil {
		return b, err
	}
	all := l.All()
	return codec.Append(b, &all, stateful.NoExpiry)
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (l *Items[T]) UnmarshalBinary(b []byte) error {
	codec, err := codecOf[T]()
	if err != nil {
		return err
	}
	var all []T
	if _, err := codec.Decode(b, &all); err != nil {
		return err
	}
	*l = itemsOf(all)
	return nil
}

// codecs are the state codecs of lists, by the type of the elements.
var codecs sync.Map

func codecOf[T any]() (*stateful.StateCodec[[]T], error) {
	t := reflect.TypeFor[T]()
	if c, ok := codecs.Load(t); ok {
		return c.(*stateful.StateCodec[[]T]), nil
	}
	c, err := stateful.NewStateCodec(stateful.StateCodecConfig[[]T]{})
	if err != nil {
		return nil, err
	}
	codecs.Store(t, c)
	return c, nil
}
