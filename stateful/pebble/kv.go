package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/kvs"
	"github.com/pondage/pondage/stateful"
)

// An entry of the key-value API is stored under
//
//	'k' key
//
// as version(1) expiry(8) value, and one that expires has a mark, empty, under
//
//	'x' expiry(8) key
//
// with the expiry in milliseconds since 1970 UTC, big endian, 0 when there is none. A mark whose time is not its entry's
// means nothing.
const (
	kvSpace   = 'k'
	markSpace = 'x'
	kvVersion = 1
	kvHeader  = 9
)

// KV returns the key-value API of this database; see [stateful.KV]. Entries are atomic and shared among all that use
// the database, which is one process, and last as state does. Expired ones are removed by later writes.
func (b *Backend) KV(c stateful.KVConfig) stateful.KV {
	clock := c.Now
	if clock == nil {
		clock = now
	}
	type lockKey struct{}
	return kvs.New(&kv{
		b: b, now: func() int64 { return clock().UnixMilli() },
		writing: b.db.Shared(lockKey{}, func() any { return new(sync.Mutex) }).(*sync.Mutex),
	}, c, kvs.Retry{})
}

// kv is a [kvs.Store].
type kv struct {
	b       *Backend
	now     func() int64
	writing *sync.Mutex // held from reading what is changed until the change can be read
}

type kvItem struct {
	value   []byte
	expires int64
}

func kvKey(key string) []byte { return append(append(make([]byte, 0, 1+len(key)), kvSpace), key...) }

func markKey(expires int64, key string) []byte {
	b := append(make([]byte, 0, 9+len(key)), markSpace)
	return append(binary.BigEndian.AppendUint64(b, uint64(expires)), key...)
}

// enter lets a call in; leave must follow.
func (k *kv) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := k.b.gate.enter(); err != nil {
		return err
	}
	if err := k.b.db.Err(); err != nil {
		k.b.gate.leave()
		return err
	}
	return nil
}

// read returns what is stored under key, expired or not.
func (k *kv) read(key string) (it kvItem, found bool, err error) {
	v, done, err := k.b.db.Get(kvKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return kvItem{}, false, nil
	}
	if err != nil {
		return kvItem{}, false, err
	}
	defer done.Close() //nolint:errcheck // memory only
	it, err = parseKV(key, v)
	it.value = append([]byte{}, it.value...)
	return it, err == nil, err
}

// find is read of what has not expired.
func (k *kv) find(now int64, key string) (kvItem, bool, error) {
	it, found, err := k.read(key)
	if !found || it.expires != 0 && now >= it.expires {
		return kvItem{}, false, err
	}
	return it, true, nil
}

func parseKV(key string, b []byte) (kvItem, error) {
	if len(b) < kvHeader {
		return kvItem{}, fmt.Errorf("the entry of %q cannot be read: it has %d bytes", key, len(b))
	}
	if b[0] != kvVersion {
		return kvItem{}, fmt.Errorf("the entry of %q has format %d, this program knows %d: use the program that wrote it, or a newer one", key, b[0], kvVersion)
	}
	return kvItem{value: b[kvHeader:], expires: int64(binary.BigEndian.Uint64(b[1:]))}, nil
}

// change is a batch that is made under the lock.
type change struct {
	*pebble.Batch
	k    *kv
	now  int64
	errs []error // of the batch
}

func (c *change) note(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

func (c *change) set(key string, value []byte, ttl, expires int64) {
	if ttl > 0 {
		expires = c.now + min(ttl, math.MaxInt64-c.now)
	}
	b := append(make([]byte, 0, kvHeader+len(value)), kvVersion)
	c.note(c.Set(kvKey(key), append(binary.BigEndian.AppendUint64(b, uint64(expires)), value...), nil))
	if expires != 0 {
		c.note(c.Set(markKey(expires, key), nil, nil))
	}
}

func (c *change) remove(key string) { c.note(c.Delete(kvKey(key), nil)) }

// sweep removes some of what expired, more than one call adds.
func (c *change) sweep(added int) error {
	it, err := c.k.b.db.NewIter(&pebble.IterOptions{LowerBound: []byte{markSpace}, UpperBound: markKey(c.now+1, "")})
	if err != nil {
		return err
	}
	n := 0
	for ok := it.First(); ok && n < added+100; ok = it.Next() {
		mark := bytes.Clone(it.Key())
		key, expires := string(mark[9:]), int64(binary.BigEndian.Uint64(mark[1:]))
		now, found, err := c.k.read(key)
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if found && now.expires == expires {
			c.remove(key)
		}
		c.note(c.Delete(mark, nil))
		n++
	}
	return it.Close()
}

// change makes a change that adds up to so many entries, and returns once it is durable.
func (k *kv) change(ctx context.Context, adds int, f func(*change) error) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.b.gate.leave()
	batch, err := k.apply(adds, f)
	if err != nil {
		return err
	}
	if err := k.b.db.SyncWait(batch); err != nil {
		return fmt.Errorf("%w: %w", stateful.ErrKVUnknown, err)
	}
	return batch.Close()
}

func (k *kv) apply(adds int, f func(*change) error) (*pebble.Batch, error) {
	k.writing.Lock()
	defer k.writing.Unlock()
	c := &change{Batch: k.b.db.NewBatch(), k: k, now: k.now()}
	err := errors.Join(c.sweep(adds), f(c))
	if err = errors.Join(append(c.errs, err)...); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := k.b.db.ApplyNoSyncWait(c.Batch, k.b.db.WriteOptions()); err != nil {
		return nil, fmt.Errorf("%w: %w", stateful.ErrKVUnknown, err)
	}
	return c.Batch, nil
}

func (k *kv) Get(ctx context.Context, keys []string) ([][]byte, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	defer k.b.gate.leave()
	vals, now := make([][]byte, len(keys)), k.now()
	for i, key := range keys {
		it, _, err := k.find(now, key)
		if err != nil {
			return nil, err
		}
		vals[i] = it.value
	}
	return vals, nil
}

func (k *kv) Put(ctx context.Context, entries []kvs.Entry) error {
	return k.change(ctx, len(entries), func(c *change) error {
		for _, e := range entries {
			c.set(e.Key, e.Value, e.TTL, 0)
		}
		return nil
	})
}

func (k *kv) Delete(ctx context.Context, keys []string) (n int, err error) {
	err = k.change(ctx, 0, func(c *change) error {
		removed := make(map[string]bool, len(keys)) // the batch cannot be read
		for _, key := range keys {
			_, found, err := k.find(c.now, key)
			if err != nil {
				return err
			}
			if found && !removed[key] {
				removed[key] = true
				c.remove(key)
			}
		}
		n = len(removed)
		return nil
	})
	return n, err
}

// List sees the entries of the time when it began.
func (k *kv) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := k.list(ctx, prefix, func(key string) bool { return yield(key, nil) }); err != nil {
			yield("", err)
		}
	}
}

func (k *kv) list(ctx context.Context, prefix string, yield func(key string) bool) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.b.gate.leave()
	from, now := kvKey(prefix), k.now()
	it, err := k.b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: successor(from)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := string(it.Key()[1:])
		e, err := parseKV(key, it.Value())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if e.expires != 0 && now >= e.expires {
			continue
		}
		if !yield(key) {
			break
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

func (k *kv) TTL(ctx context.Context, key string) (int64, bool, error) {
	if err := k.enter(ctx); err != nil {
		return 0, false, err
	}
	defer k.b.gate.leave()
	now := k.now()
	it, found, err := k.find(now, key)
	if !found || it.expires == 0 {
		return 0, found, err
	}
	return it.expires - now, true, nil
}

func (k *kv) Take(ctx context.Context, key string) (v []byte, err error) {
	err = k.change(ctx, 0, func(c *change) error {
		it, found, err := k.find(c.now, key)
		if found {
			v = it.value
			c.remove(key)
		}
		return err
	})
	return v, err
}

func (k *kv) Swap(ctx context.Context, old []byte, e kvs.Entry) (done bool, err error) {
	err = k.change(ctx, 1, func(c *change) error {
		it, found, err := k.find(c.now, e.Key)
		if err != nil {
			return err
		}
		if done = found == (old != nil) && bytes.Equal(it.value, old); !done {
			return nil
		}
		if e.Value == nil {
			c.remove(e.Key)
			return nil
		}
		c.set(e.Key, e.Value, e.TTL, 0)
		return nil
	})
	return done, err
}

func (k *kv) Add(ctx context.Context, key string, by, ttl int64) (n int64, ok bool, err error) {
	err = k.change(ctx, 1, func(c *change) error {
		it, there, err := k.find(c.now, key)
		if err != nil {
			return err
		}
		if n, ok = kvs.Increment(it.value, there, by); !ok {
			return nil
		}
		if there {
			ttl = 0
		}
		c.set(key, strconv.AppendInt(nil, n, 10), ttl, it.expires)
		return nil
	})
	return n, ok, err
}

func (k *kv) Ping(ctx context.Context) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	k.b.gate.leave()
	return nil
}

// Used returns what the files take, once written, and what is in memory before that.
func (k *kv) Used(ctx context.Context) (int64, error) {
	if err := k.enter(ctx); err != nil {
		return 0, err
	}
	defer k.b.gate.leave()
	disk, err := k.b.db.EstimateDiskUsage([]byte{kvSpace}, []byte{kvSpace + 1})
	return int64(disk), err
}
