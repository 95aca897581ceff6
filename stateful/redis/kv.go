package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/kvs"
	"github.com/pondage/pondage/stateful"
)

// KV returns the key-value API of this server; see [stateful.KV]. An entry is a string of Redis under
// [Config.Prefix], "kv:", the prefix in c and its key; each is atomic among all clients of the server, which also
// expires it. Entries of several keys are not atomic together.
//
// A list reads all keys of the server, of any prefix, unless [Config.Index] keeps those of the API in order; in a
// Cluster there is no such order. All that write to a server set Index alike, from the beginning: keys written without it
// are in no list.
func (b *Backend) KV(c stateful.KVConfig) stateful.KV {
	_, cluster := b.client.(*goredis.ClusterClient)
	k := &kv{b: b, space: b.c.Prefix + "kv:", cluster: cluster}
	if b.c.Index && !cluster {
		k.index = b.c.Prefix + "kv"
	}
	return kvs.New(k, c, kvs.Retry{Wait: b.guard.Retry(isUnsent)})
}

// kv is a [kvs.Store].
type kv struct {
	b       *Backend
	space   string // before every key
	index   string // the sorted set of keys, empty when there is none
	cluster bool
}

// do makes a call.
func (k *kv) do(f func() error) error {
	if err := k.b.calls.Enter(); err != nil {
		return err
	}
	defer k.b.calls.Leave()
	return k.b.guard.Once(f)
}

// doOnce makes a call that must not be made again when its answer is lost.
func (k *kv) doOnce(ctx context.Context, f func() error) error {
	err := k.do(f)
	if err != nil && !isUnsent(err) && (isNetwork(err) || isContext(err)) && !errors.Is(err, stateful.ErrClosed) {
		return fmt.Errorf("%w: %w", stateful.ErrKVUnknown, err)
	}
	return err
}

// pipe sends commands in one round trip to each server.
func (k *kv) pipe(ctx context.Context, f func(p goredis.Pipeliner)) (cmds []goredis.Cmder, err error) {
	err = k.do(func() error {
		cmds, err = k.b.client.Pipelined(ctx, func(p goredis.Pipeliner) error { f(p); return nil })
		for _, c := range cmds { // a missing value is an error of the whole
			if err := c.Err(); err != nil && !errors.Is(err, goredis.Nil) {
				return err
			}
		}
		return nil
	})
	return cmds, err
}

func (k *kv) Get(ctx context.Context, keys []string) ([][]byte, error) {
	vals := make([][]byte, len(keys))
	if k.cluster { // which refuses keys of several slots in one command
		cmds, err := k.pipe(ctx, func(p goredis.Pipeliner) {
			for _, key := range keys {
				p.Get(ctx, k.space+key)
			}
		})
		if err != nil {
			return nil, err
		}
		for i, c := range cmds {
			if v, err := c.(*goredis.StringCmd).Bytes(); err == nil {
				vals[i] = v
			}
		}
		return vals, nil
	}
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = k.space + key
	}
	err := k.do(func() error {
		got, err := k.b.client.MGet(ctx, full...).Result()
		for i, v := range got {
			if s, ok := v.(string); ok {
				vals[i] = []byte(s)
			}
		}
		return err
	})
	return vals, err
}

func (k *kv) Put(ctx context.Context, entries []kvs.Entry) error {
	_, err := k.pipe(ctx, func(p goredis.Pipeliner) {
		for _, e := range entries {
			key := k.space + e.Key
			if k.index != "" { // before the entry: a key in the index that is not there does no harm
				p.ZAdd(ctx, k.index, goredis.Z{Member: key})
			}
			if e.TTL == 0 {
				p.Do(ctx, "set", key, e.Value)
				continue
			}
			p.Do(ctx, "set", key, e.Value, "px", e.TTL)
		}
	})
	return err
}

func (k *kv) Delete(ctx context.Context, keys []string) (int, error) {
	cmds, err := k.pipe(ctx, func(p goredis.Pipeliner) {
		for _, key := range keys {
			p.Unlink(ctx, k.space+key) // its key leaves the index with the next list
		}
	})
	n := 0
	for _, c := range cmds {
		if c, ok := c.(*goredis.IntCmd); ok {
			n += int(c.Val())
		}
	}
	return n, err
}

func (k *kv) TTL(ctx context.Context, key string) (ms int64, found bool, err error) {
	err = k.do(func() error {
		cmd := goredis.NewCmd(ctx, "pttl", k.space+key)
		_ = k.b.client.Process(ctx, cmd) // cmd has the error
		ms, err = cmd.Int64()
		return err
	})
	const missing, forever = -2, -1
	if found = err == nil && ms != missing; ms == forever || !found {
		ms = 0
	}
	return ms, found, err
}

func (k *kv) Take(ctx context.Context, key string) (v []byte, err error) {
	err = k.doOnce(ctx, func() error {
		cmd := once{goredis.NewCmd(ctx, "getdel", k.space+key)}
		_ = k.b.client.Process(ctx, cmd) // cmd has the error
		s, err := cmd.Text()
		switch {
		case errors.Is(err, goredis.Nil):
			return nil
		case err == nil:
			v = []byte(s)
		}
		return err
	})
	return v, err
}

// keys are those of a script that changes an entry.
func (k *kv) keys(key string) []string {
	if k.index == "" {
		return []string{k.space + key}
	}
	return []string{k.space + key, k.index}
}

func (k *kv) Swap(ctx context.Context, old []byte, e kvs.Entry) (done bool, err error) {
	err = k.doOnce(ctx, func() error {
		v, err := kvSwapScript.run(ctx, k.b.client, k.keys(e.Key), flag(old != nil), old, flag(e.Value != nil), e.Value, e.TTL)
		done = v == int64(1)
		return err
	})
	return done, err
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func (k *kv) Add(ctx context.Context, key string, by, ttl int64) (n int64, ok bool, err error) {
	refused := false
	err = k.doOnce(ctx, func() error {
		v, err := kvAddScript.run(ctx, k.b.client, k.keys(key), by, ttl)
		if refused = isReply(err) && (strings.Contains(err.Error(), "not an integer") || strings.Contains(err.Error(), "would overflow")); refused || err != nil {
			return err
		}
		text, _ := v.(string)
		n, err = strconv.ParseInt(text, 10, 64)
		return err
	})
	if refused {
		return 0, false, nil
	}
	return n, err == nil, err
}

func (k *kv) Ping(ctx context.Context) error {
	return k.do(func() error { return k.b.client.Ping(ctx).Err() })
}

// Used is what the server says it has allocated, all masters of a Cluster together.
func (k *kv) Used(ctx context.Context) (sum int64, err error) {
	err = k.do(func() error {
		sum = 0
		nodes, err := k.nodes(ctx)
		for _, c := range nodes {
			var text string
			if text, err = c.Info(ctx, "memory").Result(); err != nil {
				return err
			}
			n, err := strconv.ParseInt(parseInfo(text)["used_memory"], 10, 64)
			if err != nil {
				return fmt.Errorf("INFO has no used_memory: %w", err)
			}
			sum += n
		}
		return err
	})
	return sum, err
}

// nodes are the servers that together have all keys.
func (k *kv) nodes(ctx context.Context) ([]goredis.Cmdable, error) {
	c, ok := k.b.client.(*goredis.ClusterClient)
	if !ok {
		return []goredis.Cmdable{k.b.client}, nil
	}
	found := make(chan goredis.Cmdable, 1<<14) // as many as there are slots
	err := c.ForEachMaster(ctx, func(_ context.Context, n *goredis.Client) error { found <- n; return nil })
	close(found)
	var nodes []goredis.Cmdable
	for n := range found {
		nodes = append(nodes, n)
	}
	return nodes, err
}

func (k *kv) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		list := k.listAll
		if k.index != "" {
			list = k.listIndex
		}
		if err := list(ctx, k.space+prefix, func(key string) bool { return yield(key[len(k.space):], nil) }); err != nil {
			yield("", err)
		}
	}
}

// page is how many keys are looked at in one round trip.
const page = 1000

// listIndex lists keys from the index.
func (k *kv) listIndex(ctx context.Context, prefix string, yield func(string) bool) error {
	from, to := "["+prefix, "("+kvs.Successor(prefix)
	for {
		var last string
		var keys []any
		err := k.again(ctx, func() error {
			v, err := kvListScript.run(ctx, k.b.client, []string{k.index}, from, to, page)
			if answer, ok := v.([]any); ok && len(answer) == 2 {
				last, _ = answer[0].(string)
				keys, _ = answer[1].([]any)
			}
			return err
		})
		if err != nil || last == "" {
			return err
		}
		for _, key := range keys {
			if key, _ := key.(string); !yield(key) {
				return nil
			}
		}
		from = "(" + last
	}
}

// listAll looks at all keys of the servers.
func (k *kv) listAll(ctx context.Context, prefix string, yield func(string) bool) error {
	var nodes []goredis.Cmdable
	if err := k.again(ctx, func() (err error) { nodes, err = k.nodes(ctx); return err }); err != nil {
		return err
	}
	seen := make(map[string]struct{}) // a key may come more than once
	for _, c := range nodes {
		for cursor := uint64(0); ; {
			var keys []string
			err := k.again(ctx, func() (err error) {
				var next uint64
				if keys, next, err = c.Scan(ctx, cursor, pattern(prefix), page).Result(); err == nil {
					cursor = next
				}
				return err
			})
			if err != nil {
				return err
			}
			for _, key := range keys {
				if _, again := seen[key]; again {
					continue
				}
				seen[key] = struct{}{}
				if !yield(key) {
					return nil
				}
			}
			if cursor == 0 {
				break
			}
		}
	}
	return nil
}

// again makes a call that may be repeated.
func (k *kv) again(ctx context.Context, f func() error) error {
	if err := k.b.calls.Enter(); err != nil {
		return err
	}
	defer k.b.calls.Leave()
	return k.b.guard.Again(ctx, f)
}

// pattern matches what begins with prefix.
func pattern(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(prefix) + "*"
}
