package stateful

import (
	"context"
	"encoding/binary"
	"iter"
	"time"
)

// List is a list of T per key, in the order in which elements were appended. Each element is stored, and
// expires, by itself, so that appending costs the same however long the list is. Name is required. See
// [State] for what all states have in common.
type List[T any] struct {
	Name  string              // as in [Value]
	TTL   time.Duration       // as in [Value], of each element
	Clock TimerKind           // as in [Value]
	State StateCodecConfig[T] // how elements are stored
}

// StateName implements [State].
func (l *List[T]) StateName() string { return l.Name }

// Validate implements [State].
func (l *List[T]) Validate() error { return checkState(l.Name, l.TTL, l.Clock, l.State) }

// Schema implements [State].
func (l *List[T]) Schema() []SchemaPart { return stateSchema(l.Name, "list", l.TTL, l.Clock, l.State) }

func (l *List[T]) cells(at Scope) (*cells[T], error) {
	return cellsOf(at.Tx, l.Name, l.TTL, l.Clock, &l.State)
}

// ends is where each list has its next element. It lives as long as the element that lives longest.
func (l *List[T]) ends(at Scope) (*cells[uint64], error) {
	return cellsOf(at.Tx, l.Name+"#", l.TTL, l.Clock, &StateCodecConfig[uint64]{})
}

// Append adds elements at the end.
func (l *List[T]) Append(ctx context.Context, at Scope, elements ...T) error {
	s, err := l.cells(at)
	if err != nil {
		return err
	}
	ends, err := l.ends(at)
	if err != nil {
		return err
	}
	end, err := ends.load(ctx, at.Key)
	if err != nil {
		return err
	}
	expiry, err := s.expiry(at.Tx)
	if err != nil {
		return err
	}
	next := end.val.val
	for _, e := range elements {
		s.key = binary.BigEndian.AppendUint64(appendPart(s.key[:0], at.Key), next)
		c := s.table.Find(s.key)
		if c == nil && end.has {
			c = s.table.Fresh(s.key) // none was stored behind the end
		} else if c == nil {
			if c, err = s.load(ctx, string(s.key)); err != nil {
				return err
			}
		}
		s.putUntil(at.Tx, c, e, expiry)
		next++
	}
	if end.has && expiry != NoExpiry && (end.val.expiry == NoExpiry || end.val.expiry > expiry) {
		expiry = end.val.expiry
	}
	ends.putUntil(at.Tx, end, next, expiry)
	return nil
}

// All yields the elements. The list may be changed meanwhile; what is appended may be missing.
func (l *List[T]) All(ctx context.Context, at Scope) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		s, err := l.cells(at)
		if err != nil {
			yield(none, err)
			return
		}
		for c, err := range s.all(ctx, at.Key) {
			if err != nil {
				yield(none, err)
				return
			}
			if v, ok := s.get(at.Tx, c); ok && !yield(v, nil) {
				return
			}
		}
	}
}

// Clear takes all elements away. It reads each of them.
func (l *List[T]) Clear(ctx context.Context, at Scope) error {
	s, err := l.cells(at)
	if err != nil {
		return err
	}
	ends, err := l.ends(at)
	if err != nil {
		return err
	}
	end, err := ends.load(ctx, at.Key)
	if err != nil {
		return err
	}
	ends.delete(at.Tx, end)
	return s.clear(ctx, at)
}
