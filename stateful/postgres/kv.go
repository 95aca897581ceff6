package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/pondage/pondage/internal/kvs"
	"github.com/pondage/pondage/stateful"
)

// KV returns the key-value API of this schema; see [stateful.KV]. Each call is one transaction, entries of several
// keys included, and atomic among all that use the schema. The server's clock decides what expired; later writes remove it.
func (b *Backend) KV(c stateful.KVConfig) stateful.KV {
	return kvs.New(&kv{b: b}, c, kvs.Retry{Wait: b.guard.Retry(isUnsent)})
}

// kv is a [kvs.Store].
type kv struct{ b *Backend }

// do makes calls as one transaction.
func (k *kv) do(ctx context.Context, calls ...call) error {
	if err := k.b.calls.Enter(); err != nil {
		return err
	}
	defer k.b.calls.Leave()
	return k.b.once(ctx, calls...)
}

// doOnce makes calls that must not be made again when their answer is lost.
func (k *kv) doOnce(ctx context.Context, calls ...call) error {
	err := k.do(ctx, calls...)
	if err != nil && !isUnsent(err) && !errors.Is(err, stateful.ErrClosed) {
		return fmt.Errorf("%w: %w", stateful.ErrKVUnknown, err)
	}
	return err
}

// sweep removes some of what expired, more than one call adds.
func (k *kv) sweep(adds int) call {
	return call{sql: k.b.sql.kvSweep, params: []param{int8Param(int64(adds + 100))}}
}

func keysParam(keys []string) param {
	var a array
	a.reset()
	for _, key := range keys {
		a.append(key)
	}
	return a.param()
}

func (k *kv) Get(ctx context.Context, keys []string) ([][]byte, error) {
	vals := make([][]byte, len(keys))
	err := k.do(ctx, call{sql: k.b.sql.kvGet, params: []param{keysParam(keys)}, row: func(f *fields) error {
		at, v := f.int8()-1, f.bytes()
		if at < 0 || at >= int64(len(vals)) {
			return fmt.Errorf("the server answers for key %d of %d", at+1, len(vals))
		}
		vals[at] = append([]byte{}, v...)
		return nil
	}})
	return vals, err
}

func (k *kv) Put(ctx context.Context, entries []kvs.Entry) error {
	// Of one key the last counts, and all calls lock keys in one order.
	sorted := slices.Clone(entries)
	slices.Reverse(sorted)
	slices.SortStableFunc(sorted, func(a, b kvs.Entry) int { return strings.Compare(a.Key, b.Key) })
	sorted = slices.CompactFunc(sorted, func(a, b kvs.Entry) bool { return a.Key == b.Key })
	var keys, values array
	keys.reset()
	values.reset()
	ttls := make([]int64, 0, len(sorted))
	for _, e := range sorted {
		keys.append(e.Key)
		values.appendBytes(e.Value)
		ttls = append(ttls, e.TTL)
	}
	return k.do(ctx, k.sweep(len(sorted)), call{sql: k.b.sql.kvPut, params: []param{keys.param(), values.param(), int8Array(ttls)}})
}

func (k *kv) Delete(ctx context.Context, keys []string) (n int, err error) {
	err = k.do(ctx, call{sql: k.b.sql.kvDelete, params: []param{keysParam(keys)}, row: func(f *fields) error {
		n = int(f.int8())
		return nil
	}})
	return n, err
}

func (k *kv) TTL(ctx context.Context, key string) (ms int64, found bool, err error) {
	err = k.do(ctx, call{sql: k.b.sql.kvTTL, params: []param{bytesParam(key)}, row: func(f *fields) error {
		ms, found = f.int8(), true
		return nil
	}})
	return ms, found, err
}

func (k *kv) Take(ctx context.Context, key string) (v []byte, err error) {
	err = k.doOnce(ctx, call{sql: k.b.sql.kvTake, params: []param{bytesParam(key)}, row: func(f *fields) error {
		value := append([]byte{}, f.bytes()...)
		if f.bool() {
			v = value
		}
		return nil
	}})
	return v, err
}

func (k *kv) Swap(ctx context.Context, old []byte, e kvs.Entry) (done bool, err error) {
	yes := func(*fields) error { done = true; return nil }
	key, value, ttl := bytesParam(e.Key), param{oid: oidBytea, value: e.Value}, int8Param(e.TTL)
	switch {
	case old == nil && e.Value == nil:
		err = k.do(ctx, call{sql: k.b.sql.kvMissing, params: []param{key}, row: yes})
	case old == nil:
		err = k.doOnce(ctx, k.sweep(1), call{sql: k.b.sql.kvInsert, params: []param{key, value, ttl}, row: yes})
	case e.Value == nil:
		err = k.doOnce(ctx, call{sql: k.b.sql.kvRemove, params: []param{key, {oid: oidBytea, value: old}}, row: yes})
	default:
		err = k.doOnce(ctx, call{sql: k.b.sql.kvUpdate, params: []param{key, value, ttl, {oid: oidBytea, value: old}}, row: yes})
	}
	return done, err
}

func (k *kv) Add(ctx context.Context, key string, by, ttl int64) (n int64, ok bool, err error) {
	params := []param{bytesParam(key), int8Param(by), int8Param(ttl)}
	err = k.doOnce(ctx, k.sweep(1), call{sql: k.b.sql.kvAdd, params: params, row: func(f *fields) error {
		n, ok = f.int8(), true
		return nil
	}})
	if hasCode(err, codeRange, codeEncoding) {
		return 0, false, nil
	}
	return n, ok, err
}

func (k *kv) Ping(ctx context.Context) error { return k.do(ctx, call{sql: k.b.sql.server}) }

// Used is what the table and its indexes take on the disk.
func (k *kv) Used(ctx context.Context) (n int64, err error) {
	err = k.do(ctx, call{sql: k.b.sql.kvSize, row: func(f *fields) error { n = f.int8(); return nil }})
	return n, err
}

// listPage is how many keys are read in one round trip.
const listPage = 1000

func (k *kv) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		to := param{oid: oidBytea} // none
		if end := kvs.Successor(prefix); end != "" {
			to = bytesParam(end)
		}
		for from := prefix; ; {
			keys, err := k.page(ctx, from, to)
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !yield(key, nil) {
					return
				}
			}
			if len(keys) < listPage {
				return
			}
			from = keys[len(keys)-1] + "\x00"
		}
	}
}

func (k *kv) page(ctx context.Context, from string, to param) (keys []string, err error) {
	if err := k.b.calls.Enter(); err != nil {
		return nil, err
	}
	defer k.b.calls.Leave()
	err = k.b.guard.Again(ctx, func() error {
		keys = keys[:0]
		return k.b.run(ctx, call{sql: k.b.sql.kvList, params: []param{bytesParam(from), to, int8Param(listPage)}, row: func(f *fields) error {
			keys = append(keys, f.text())
			return nil
		}})
	})
	return keys, err
}
