package stateful

import (
	"context"
	"fmt"
	"time"
)

// Typed is a [KV] of values of T. It may be used by several goroutines, as its codec may.
type Typed[T any] struct {
	kv    KV
	codec *StateCodec[T]
}

// NewTyped returns kv for values of T, encoded by codec, which also reads older versions and refuses newer
// ones; see [NewStateCodec].
func NewTyped[T any](kv KV, codec *StateCodec[T]) *Typed[T] {
	return &Typed[T]{kv: kv, codec: codec}
}

// KV returns what t stores its values in, for what needs no type.
func (t *Typed[T]) KV() KV { return t.kv }

// Get returns the value of key and whether it is there.
func (t *Typed[T]) Get(ctx context.Context, key string) (v T, found bool, err error) {
	vals, err := t.kv.Get(ctx, key)
	if err != nil {
		return v, false, err
	}
	return t.decode(key, vals[0])
}

// Put sets key to v; ttl is as in [KVEntry].
func (t *Typed[T]) Put(ctx context.Context, key string, v T, ttl time.Duration) error {
	raw, err := t.encode(key, v, ttl)
	if err != nil {
		return err
	}
	return t.kv.Put(ctx, raw)
}

// GetAndDelete is [KV.GetAndDelete].
func (t *Typed[T]) GetAndDelete(ctx context.Context, key string) (v T, found bool, err error) {
	b, err := t.kv.GetAndDelete(ctx, key)
	if err != nil {
		return v, false, err
	}
	return t.decode(key, b)
}

// SetIfNotExists is [KV.SetIfNotExists] of v.
func (t *Typed[T]) SetIfNotExists(ctx context.Context, key string, v T, ttl time.Duration) (bool, error) {
	raw, err := t.encode(key, v, ttl)
	if err != nil {
		return false, err
	}
	return t.kv.SetIfNotExists(ctx, raw)
}

func (t *Typed[T]) decode(key string, b []byte) (v T, found bool, err error) {
	if b == nil {
		return v, false, nil
	}
	if _, err := t.codec.Decode(b, &v); err != nil {
		return v, false, fmt.Errorf("value of key %q: %w", key, err)
	}
	return v, true, nil
}

func (t *Typed[T]) encode(key string, v T, ttl time.Duration) (KVEntry, error) {
	b, err := t.codec.Append(nil, &v, NoExpiry) // the backend knows when it expires
	if err != nil {
		return KVEntry{}, fmt.Errorf("value of key %q: %w", key, err)
	}
	return KVEntry{Key: key, Value: b, TTL: ttl}, nil
}
