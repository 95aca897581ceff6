package memory

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/pondage/pondage/internal/kvs"
	"github.com/pondage/pondage/stateful"
)

// KV returns the key-value API of this backend; see [stateful.KV]. All that it returns share their entries, as far as
// prefixes meet. Entries are atomic and shared within this process, and gone with it. Expired ones are removed by later
// writes.
func (b *Backend) KV(c stateful.KVConfig) stateful.KV {
	clock := c.Now
	if clock == nil {
		clock = now
	}
	return kvs.New(&kv{shelf: &b.shelf, clock: func() int64 { return clock().UnixMilli() }}, c, kvs.Retry{})
}

// shelf holds the entries of all KVs of a backend.
type shelf struct {
	mu     sync.RWMutex
	items  map[string]item
	order  btree.Set[string] // the keys, for lists
	due    btree.Set[string] // of what expires: the time, 8 bytes big endian, and the key
	bytes  int64
	closed bool
}

type item struct {
	value   []byte // never changed in place
	expires int64  // in milliseconds since 1970 UTC, 0: never
}

func (it item) gone(now int64) bool { return it.expires != 0 && now >= it.expires }

// itemOverhead is about what an entry takes beside its key and value, in bytes.
const itemOverhead = 120

func (s *shelf) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.items, s.bytes = true, nil, 0
	s.order.Clear()
	s.due.Clear()
}

func dueKey(expires int64, key string) string {
	return string(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(expires))) + key
}

// set writes an entry. The shelf is locked.
func (s *shelf) set(key string, it item) {
	old, there := s.items[key]
	if !there {
		if s.items == nil {
			s.items = make(map[string]item)
		}
		s.order.Insert(key)
		s.bytes += int64(len(key)) + itemOverhead
	}
	if old.expires != 0 && old.expires != it.expires {
		s.due.Delete(dueKey(old.expires, key))
	}
	if it.expires != 0 && old.expires != it.expires {
		s.due.Insert(dueKey(it.expires, key))
	}
	s.bytes += int64(len(it.value) - len(old.value))
	s.items[key] = it
}

// remove removes an entry that is there. The shelf is locked.
func (s *shelf) remove(key string) {
	old := s.items[key]
	if old.expires != 0 {
		s.due.Delete(dueKey(old.expires, key))
	}
	delete(s.items, key)
	s.order.Delete(key)
	s.bytes -= int64(len(key)+len(old.value)) + itemOverhead
}

// sweep removes some of what expired, more than one call adds. The shelf is locked.
func (s *shelf) sweep(now int64, added int) {
	for range added + 100 {
		k, ok := s.due.Min()
		if !ok || int64(binary.BigEndian.Uint64([]byte(k[:8]))) > now {
			return
		}
		s.remove(k[8:])
	}
}

// find returns the entry of key as of now. The shelf is locked, if only for reading.
func (s *shelf) find(now int64, key string) (item, bool) {
	it, ok := s.items[key]
	if !ok || it.gone(now) {
		return item{}, false
	}
	return it, true
}

// kv is a [kvs.Store].
type kv struct {
	*shelf
	clock func() int64
}

// now returns the time by which entries expire. While none does, nobody needs to know it. The shelf is locked.
func (k *kv) now() int64 {
	if k.due.Len() == 0 {
		return 0
	}
	return k.clock()
}

func (k *kv) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.closed {
		return stateful.ErrClosed
	}
	return nil
}

// change locks the shelf for a write that adds up to so many entries.
func (k *kv) change(ctx context.Context, adds int, f func(now int64)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return err
	}
	now := k.now()
	k.sweep(now, adds)
	f(now)
	return nil
}

func (k *kv) expiry(ttl int64) int64 {
	if ttl == 0 {
		return 0
	}
	now := k.clock()
	if ttl > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + ttl
}

func (k *kv) Get(ctx context.Context, keys []string) ([][]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(ctx); err != nil {
		return nil, err
	}
	vals, now := make([][]byte, len(keys)), k.now()
	for i, key := range keys {
		if it, ok := k.find(now, key); ok {
			vals[i] = bytes.Clone(it.value)
		}
	}
	return vals, nil
}

func (k *kv) Put(ctx context.Context, entries []kvs.Entry) error {
	return k.change(ctx, len(entries), func(int64) {
		for _, e := range entries {
			k.set(e.Key, item{bytes.Clone(e.Value), k.expiry(e.TTL)})
		}
	})
}

func (k *kv) Delete(ctx context.Context, keys []string) (n int, err error) {
	err = k.change(ctx, 0, func(now int64) {
		for _, key := range keys {
			if _, ok := k.find(now, key); ok {
				k.remove(key)
				n++
			}
		}
	})
	return n, err
}

// List reads keys some at a time, so that it does not hold up others.
func (k *kv) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		at := prefix
		for {
			keys, next, err := k.some(ctx, prefix, at)
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			at = next
		}
	}
}

func (k *kv) some(ctx context.Context, prefix, from string) (keys []string, next string, err error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(ctx); err != nil {
		return nil, "", err
	}
	now, seen := k.now(), 0
	k.order.Ascend(from, func(key string) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		if seen++; seen > 256 {
			next = key
			return false
		}
		if !k.items[key].gone(now) {
			keys = append(keys, key)
		}
		return true
	})
	return keys, next, nil
}

func (k *kv) TTL(ctx context.Context, key string) (int64, bool, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(ctx); err != nil {
		return 0, false, err
	}
	now := k.now()
	it, ok := k.find(now, key)
	if !ok || it.expires == 0 {
		return 0, ok, nil
	}
	return it.expires - now, true, nil
}

func (k *kv) Take(ctx context.Context, key string) (v []byte, err error) {
	err = k.change(ctx, 0, func(now int64) {
		if it, ok := k.find(now, key); ok {
			v = it.value // nobody else has it any more
			k.remove(key)
		}
	})
	return v, err
}

func (k *kv) Swap(ctx context.Context, old []byte, e kvs.Entry) (done bool, err error) {
	err = k.change(ctx, 1, func(now int64) {
		it, ok := k.find(now, e.Key)
		if done = ok == (old != nil) && bytes.Equal(it.value, old); !done {
			return
		}
		switch {
		case e.Value != nil:
			k.set(e.Key, item{bytes.Clone(e.Value), k.expiry(e.TTL)})
		case ok:
			k.remove(e.Key)
		}
	})
	return done, err
}

func (k *kv) Add(ctx context.Context, key string, by, ttl int64) (n int64, ok bool, err error) {
	err = k.change(ctx, 1, func(now int64) {
		it, there := k.find(now, key)
		if n, ok = kvs.Increment(it.value, there, by); !ok {
			return
		}
		if !there {
			it.expires = k.expiry(ttl)
		}
		k.set(key, item{strconv.AppendInt(nil, n, 10), it.expires})
	})
	return n, ok, err
}

func (k *kv) Ping(ctx context.Context) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.usable(ctx)
}

func (k *kv) Used(ctx context.Context) (int64, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.bytes, k.usable(ctx)
}
