package stateful

import (
	"context"
	"errors"
	"time"
)

// Value is one value per key. Name is required. See [State] for what all states have in common.
type Value[T any] struct {
	// Name tells the state from others of the handler: never change it once deployed. It matches
	// [a-z0-9._-]{1,30}.
	Name string
	// TTL is how long a value lives after it was last put, in whole milliseconds, parts of one counting as one.
	// Default 0: for ever.
	TTL time.Duration
	// Clock is what the TTL is measured by. Defaults to [EventTime]. Never change it once deployed.
	Clock TimerKind
	// State configures how values are stored.
	State StateCodecConfig[T]
}

// StateName implements [State].
func (v *Value[T]) StateName() string { return v.Name }

// Validate implements [State].
func (v *Value[T]) Validate() error { return checkState(v.Name, v.TTL, v.Clock, v.State) }

// Schema implements [State].
func (v *Value[T]) Schema() []SchemaPart {
	return stateSchema(v.Name, "value", v.TTL, v.Clock, v.State)
}

func (v *Value[T]) cells(at Scope) (*cells[T], error) {
	return cellsOf(at.Tx, v.Name, v.TTL, v.Clock, &v.State)
}

// Get returns the value and whether there is one.
func (v *Value[T]) Get(ctx context.Context, at Scope) (value T, ok bool, err error) {
	s, err := v.cells(at)
	if err != nil {
		return value, false, err
	}
	return s.read(ctx, at)
}

// Put sets the value.
func (v *Value[T]) Put(ctx context.Context, at Scope, value T) error {
	s, err := v.cells(at)
	if err != nil {
		return err
	}
	c, err := s.load(ctx, at.Key)
	if err != nil {
		return err
	}
	return s.put(at.Tx, c, value)
}

// Delete takes the value away.
func (v *Value[T]) Delete(ctx context.Context, at Scope) error {
	s, err := v.cells(at)
	if err != nil {
		return err
	}
	return s.remove(ctx, at)
}

// InMemory reports whether the value of the key, or that there is none, is known without reading the store. A handler
// that must check each key once (see [Task.CheckKey]) checks those for which it is false.
func (v *Value[T]) InMemory(at Scope) (bool, error) {
	s, err := v.cells(at)
	return err == nil && s.find(at.Key) != nil, err
}

// Aggregate is one value per key into which events E are folded. Name and Fold are required. See [State] for what
// all states have in common.
type Aggregate[E, A any] struct {
	Name  string        // as in [Value]
	TTL   time.Duration // as in [Value]; every event begins it anew
	Clock TimerKind     // as in [Value]
	// Init returns the value before the first event. Defaults to the zero value.
	Init func() A
	// Fold returns the value with one more event. It must be pure, and must not change memory that the
	// value it was given refers to. Those of package handlers fit: handlers.Count[E]().Fold.
	Fold func(value A, event E) (A, error)
	// State configures how values are stored.
	State StateCodecConfig[A]
}

// StateName implements [State].
func (a *Aggregate[E, A]) StateName() string { return a.Name }

// Validate implements [State].
func (a *Aggregate[E, A]) Validate() error {
	err := checkState(a.Name, a.TTL, a.Clock, a.State)
	if a.Fold == nil {
		err = errors.Join(err, errors.New("Fold is required: how an event changes the value"))
	}
	return err
}

// Schema implements [State]. It is that of a [Value].
func (a *Aggregate[E, A]) Schema() []SchemaPart {
	return stateSchema(a.Name, "value", a.TTL, a.Clock, a.State)
}

func (a *Aggregate[E, A]) cells(at Scope) (*cells[A], error) {
	return cellsOf(at.Tx, a.Name, a.TTL, a.Clock, &a.State)
}

// Add folds event into the value and returns what it is now.
func (a *Aggregate[E, A]) Add(ctx context.Context, at Scope, event E) (value A, err error) {
	s, err := a.cells(at)
	if err != nil {
		return value, err
	}
	c, err := s.load(ctx, at.Key)
	if err != nil {
		return value, err
	}
	value, ok := s.get(at.Tx, c)
	if !ok && a.Init != nil {
		value = a.Init()
	}
	if value, err = a.Fold(value, event); err != nil {
		return value, err
	}
	return value, s.put(at.Tx, c, value)
}

// Get returns the value and whether there is one.
func (a *Aggregate[E, A]) Get(ctx context.Context, at Scope) (value A, ok bool, err error) {
	s, err := a.cells(at)
	if err != nil {
		return value, false, err
	}
	return s.read(ctx, at)
}

// Delete takes the value away.
func (a *Aggregate[E, A]) Delete(ctx context.Context, at Scope) error {
	s, err := a.cells(at)
	if err != nil {
		return err
	}
	return s.remove(ctx, at)
}
