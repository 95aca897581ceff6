// Package kvs is what the key-value APIs of all backends share: keys and values are checked, keys get their
// prefix, calls are counted and tried again.
package kvs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/pondage/pondage/stateful"
)

// The longest key and the largest value.
const (
	MaxKey   = 2048 // an index of PostgreSQL takes about 2,700
	MaxValue = 8 << 20
)

// Entry is what a [Store] writes. TTL is in milliseconds, 0 for ever.
type Entry struct {
	Key   string
	Value []byte // not nil, but for Swap
	TTL   int64
}

// Store is what a backend implements. Keys and values are within their limits, keys begin with a prefix. The
// methods are those of [stateful.KV], where they are described; it may be used by several goroutines.
type Store interface {
	Get(ctx context.Context, keys []string) ([][]byte, error)
	Put(ctx context.Context, entries []Entry) error
	Delete(ctx context.Context, keys []string) (int, error)
	List(ctx context.Context, prefix string) iter.Seq2[string, error]
	TTL(ctx context.Context, key string) (ms int64, found bool, err error)
	Take(ctx context.Context, key string) ([]byte, error)
	// Swap is CompareAndSwap.
	Swap(ctx context.Context, old []byte, e Entry) (bool, error)
	// Add is Increment. ok is false for a value that is not a counter, or would overflow.
	Add(ctx context.Context, key string, by, ttl int64) (n int64, ok bool, err error)
	Ping(ctx context.Context) error
	Used(ctx context.Context) (int64, error)
}

// Retry says how a [Store]'s calls are tried again. The zero value is never.
type Retry struct {
	// Wait waits before try n, which is 1 for the first that is made again, and returns an error when there
	// is none. repeatable says that a call may have taken effect and can be made again all the same. err is
	// why it failed.
	Wait func(ctx context.Context, n int, repeatable bool, err error) error
}

// KV is a [stateful.KV] on a [Store].
type KV struct {
	s      Store
	prefix string
	ttl    time.Duration
	retry  Retry
	meter  meter
}

var _ stateful.KV = (*KV)(nil)

// New returns the KV of s.
func New(s Store, c stateful.KVConfig, r Retry) *KV {
	if c.Prefix == "" {
		c.Prefix = "pondage:"
	}
	return &KV{s: s, prefix: c.Prefix, ttl: c.TTL, retry: r, meter: newMeter()}
}

// call is one call of a KV under way.
type call struct {
	counts
	what  string
	start time.Duration
	tries int
}

func begin(what string, c counts) call { return call{counts: c, what: what, start: now()} }

// again reports whether a try that ended with err is followed by another one. repeatable says that the call may be made
// again though it may have taken effect.
func (k *KV) again(ctx context.Context, c *call, repeatable bool, err error) bool {
	if err == nil || k.retry.Wait == nil {
		return false
	}
	c.tries++
	if k.retry.Wait(ctx, c.tries, repeatable, err) != nil {
		return false
	}
	c.retries++
	return true
}

// end counts the call and returns its error.
func (k *KV) end(c *call, err error) error {
	k.meter.add(&c.counts, now()-c.start, err)
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	return nil
}

// Get is [stateful.KV.Get].
func (k *KV) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	full, err := k.keys(keys)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	c := begin("get", counts{gets: 1})
	vals, err := k.s.Get(ctx, full)
	for k.again(ctx, &c, true, err) {
		vals, err = k.s.Get(ctx, full)
	}
	if err == nil {
		for _, v := range vals {
			c.found(v)
		}
	}
	return vals, k.end(&c, err)
}

// Put is [stateful.KV.Put].
func (k *KV) Put(ctx context.Context, entries ...stateful.KVEntry) error {
	if len(entries) == 0 {
		return nil
	}
	c := begin("put", counts{puts: 1})
	full := make([]Entry, len(entries))
	for i, e := range entries {
		var err error
		if full[i], err = k.entry(e); err != nil {
			return err
		}
		c.written += uint64(len(e.Value))
	}
	err := k.s.Put(ctx, full)
	for k.again(ctx, &c, true, err) {
		err = k.s.Put(ctx, full)
	}
	return k.end(&c, err)
}

// Delete is [stateful.KV.Delete].
func (k *KV) Delete(ctx context.Context, keys ...string) (int, error) {
	full, err := k.keys(keys)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	c := begin("delete", counts{deletes: 1})
	n, err := k.s.Delete(ctx, full)
	for k.again(ctx, &c, true, err) {
		n, err = k.s.Delete(ctx, full)
	}
	return n, k.end(&c, err)
}

// ListKeys is [stateful.KV.ListKeys]. It is not tried again by itself: a store does so within a list.
func (k *KV) ListKeys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if len(k.prefix)+len(prefix) > MaxKey {
			return // there can be none
		}
		c := begin("list keys", counts{})
		for key, err := range k.s.List(ctx, k.prefix+prefix) {
			if err != nil {
				yield("", k.end(&c, err))
				return
			}
			if !yield(key[len(k.prefix):], nil) {
				break
			}
		}
		k.end(&c, nil) //nolint:errcheck // there is none
	}
}

// TTL is [stateful.KV.TTL].
func (k *KV) TTL(ctx context.Context, key string) (time.Duration, bool, error) {
	full, err := k.key(key)
	if err != nil {
		return 0, false, err
	}
	c := begin("ttl", counts{})
	ms, found, err := k.s.TTL(ctx, full)
	for k.again(ctx, &c, true, err) {
		ms, found, err = k.s.TTL(ctx, full)
	}
	return time.Duration(ms) * time.Millisecond, found, k.end(&c, err)
}

// GetAndDelete is [stateful.KV.GetAndDelete].
func (k *KV) GetAndDelete(ctx context.Context, key string) ([]byte, error) {
	full, err := k.key(key)
	if err != nil {
		return nil, err
	}
	c := begin("get and delete", counts{deletes: 1})
	v, err := k.s.Take(ctx, full)
	for k.again(ctx, &c, false, err) {
		v, err = k.s.Take(ctx, full)
	}
	if err == nil {
		c.found(v)
	}
	return v, k.end(&c, err)
}

// SetIfNotExists is [stateful.KV.SetIfNotExists].
func (k *KV) SetIfNotExists(ctx context.Context, e stateful.KVEntry) (bool, error) {
	full, err := k.entry(e)
	if err != nil {
		return false, err
	}
	return k.swap(ctx, "set if not exists", nil, full)
}

// CompareAndSwap is [stateful.KV.CompareAndSwap].
func (k *KV) CompareAndSwap(ctx context.Context, old []byte, e stateful.KVEntry) (bool, error) {
	full, err := k.entry(e)
	if err != nil {
		return false, err
	}
	if e.Value == nil {
		full.Value = nil
	}
	return k.swap(ctx, "compare and swap", old, full)
}

func (k *KV) swap(ctx context.Context, what string, old []byte, e Entry) (bool, error) {
	c := begin(what, counts{puts: 1})
	if e.Value == nil {
		c.counts = counts{deletes: 1}
	}
	done, err := k.s.Swap(ctx, old, e)
	for k.again(ctx, &c, false, err) {
		done, err = k.s.Swap(ctx, old, e)
	}
	if done {
		c.written = uint64(len(e.Value))
	}
	return done, k.end(&c, err)
}

// Increment is [stateful.KV.Increment].
func (k *KV) Increment(ctx context.Context, key string, by int64, ttl time.Duration) (int64, error) {
	e, err := k.entry(stateful.KVEntry{Key: key, TTL: ttl})
	if err != nil {
		return 0, err
	}
	c := begin("increment", counts{puts: 1})
	n, ok, err := k.s.Add(ctx, e.Key, by, e.TTL)
	for k.again(ctx, &c, false, err) {
		n, ok, err = k.s.Add(ctx, e.Key, by, e.TTL)
	}
	if err == nil && !ok {
		err = fmt.Errorf("%q by %d: %w", key, by, stateful.ErrNotCounter)
	}
	return n, k.end(&c, err)
}

// Ping is [stateful.KV.Ping]. It is not tried again.
func (k *KV) Ping(ctx context.Context) error {
	if err := k.s.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// MemoryUsage is [stateful.KV.MemoryUsage].
func (k *KV) MemoryUsage(ctx context.Context) (int64, error) {
	n, err := k.s.Used(ctx)
	if err != nil {
		return 0, fmt.Errorf("memory usage: %w", err)
	}
	return n, nil
}

// Stats is [stateful.KV.Stats].
func (k *KV) Stats() stateful.KVStats { return k.meter.read() }

func (k *KV) key(key string) (string, error) {
	if key == "" {
		return "", stateful.Permanent(errors.New("the key is empty: give it a name"))
	}
	if n := len(k.prefix) + len(key); n > MaxKey {
		return "", stateful.Permanent(fmt.Errorf("the key has %d bytes with its prefix, and the limit is %d: take a digest of it", n, MaxKey))
	}
	return k.prefix + key, nil
}

func (k *KV) keys(keys []string) ([]string, error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if full[i], err = k.key(key); err != nil {
			return nil, err
		}
	}
	return full, nil
}

func (k *KV) entry(e stateful.KVEntry) (Entry, error) {
	key, err := k.key(e.Key)
	if err != nil {
		return Entry{}, err
	}
	if len(e.Value) > MaxValue {
		return Entry{}, stateful.Permanent(fmt.Errorf("the value of %q has %d bytes, and the limit is %d: store it elsewhere, and where it is here",
			e.Key, len(e.Value), MaxValue))
	}
	full := Entry{Key: key, Value: e.Value}
	if full.Value == nil {
		full.Value = []byte{}
	}
	ttl := cmp.Or(e.TTL, k.ttl, stateful.NoTTL)
	switch {
	case ttl == stateful.NoTTL:
	case ttl < time.Millisecond || ttl%time.Millisecond != 0:
		return Entry{}, stateful.Permanent(fmt.Errorf("the ttl of %q is %v: give whole milliseconds, or stateful.NoTTL", e.Key, ttl))
	default:
		full.TTL = ttl.Milliseconds()
	}
	return full, nil
}
