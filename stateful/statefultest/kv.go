package statefultest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/stateful"
)

// KVUnderTest is what [TestKV] tests.
type KVUnderTest struct {
	// Open returns a KV of the backend under test. Those of one prefix have the same entries. Prefixes of the tests
	// begin with "test" and a number that is not used twice.
	Open func(stateful.KVConfig) stateful.KV
	// Pass lets time pass: on a server by sleeping, else by moving the clock that Open gives.
	Pass func(time.Duration)
}

// TestKV runs every promise in the docs of [stateful.KV], [stateful.Typed] and [stateful.KVLease] against a backend.
func TestKV(t *testing.T, u KVUnderTest) {
	for i, c := range kvChecks {
		t.Run(c.promise, func(t *testing.T) {
			c.check(t, &kvTest{KV: u.Open(stateful.KVConfig{Prefix: prefixOf(i)}), u: u, prefix: prefixOf(i)})
		})
	}
	n := len(kvChecks)
	t.Run("like a map under random calls", func(t *testing.T) {
		rapid.Check(t, func(r *rapid.T) {
			n++
			kvModel(r, u.Open(stateful.KVConfig{Prefix: prefixOf(n)}))
		})
	})
}

// Some of what a pattern, a range or a text would take for something else.
func prefixOf(i int) string { return fmt.Sprintf("test%d*[%%_:", i) }

type kvTest struct {
	stateful.KV
	u      KVUnderTest
	prefix string
}

var kvChecks = []struct {
	promise string
	check   func(*testing.T, *kvTest)
}{
	{"values come in the order of their keys, missing ones are nil, empty ones are not", func(t *testing.T, k *kvTest) {
		k.put(t, "a", "1")
		k.put(t, "empty", "")
		k.must(t, k.Put(ctx, stateful.KVEntry{Key: "nil"}))
		got, err := k.Get(ctx, "empty", "missing", "a", "a", "nil")
		k.must(t, err)
		want := [][]byte{{}, nil, []byte("1"), []byte("1"), {}}
		for i := range want {
			if (got[i] == nil) != (want[i] == nil) || !bytes.Equal(got[i], want[i]) {
				t.Errorf("value %d is %q (nil: %v), want %q", i, got[i], got[i] == nil, want[i])
			}
		}
	}},
	{"a call with nothing does nothing", func(t *testing.T, k *kvTest) {
		vals, err := k.Get(ctx)
		n, errDelete := k.Delete(ctx)
		if len(vals) != 0 || n != 0 || errors.Join(err, errDelete, k.Put(ctx)) != nil {
			t.Errorf("got %v, %d, %v", vals, n, errors.Join(err, errDelete))
		}
	}},
	{"keys and values are bytes", func(t *testing.T, k *kvTest) {
		odd := []string{"\x00", "\xff\xfe", "a\nb", "ключ", "a b", strings.Repeat("k", 2048-len(k.prefix)), "*", "%", `\`, "'", `";--`}
		for _, key := range odd {
			k.put(t, key, "v"+key)
		}
		for _, key := range odd {
			k.want(t, key, "v"+key)
		}
		slices.Sort(odd)
		k.wantKeys(t, "", odd...)
	}},
	{"one call writes many, the last of a key counts", func(t *testing.T, k *kvTest) {
		var es []stateful.KVEntry
		for i := range 2500 {
			es = append(es, stateful.KVEntry{Key: fmt.Sprintf("k%04d", i), Value: fmt.Append(nil, i)})
		}
		es = append(es, stateful.KVEntry{Key: "k0007", Value: []byte("again")})
		k.must(t, k.Put(ctx, es...))
		k.want(t, "k0007", "again")
		k.want(t, "k2499", "2499")
		n := 0
		for _, err := range k.ListKeys(ctx, "k") {
			k.must(t, err)
			n++
		}
		if n != 2500 {
			t.Errorf("%d keys are listed, want 2500", n)
		}
	}},
	{"delete counts what was there", func(t *testing.T, k *kvTest) {
		k.put(t, "a", "1")
		k.put(t, "b", "")
		n, err := k.Delete(ctx, "a", "missing", "b")
		k.must(t, err)
		if n != 2 {
			t.Errorf("deleted %d, want 2", n)
		}
		k.wantKeys(t, "")
	}},
	{"a list has its prefix, and of this KV only", func(t *testing.T, k *kvTest) {
		other := k.u.Open(stateful.KVConfig{Prefix: k.prefix + "x:"})
		k.must(t, other.Put(ctx, stateful.KVEntry{Key: "user:4"}))
		for _, key := range []string{"user:1", "user:2", "user", "use", "user;", "user*"} {
			k.put(t, key, "")
		}
		k.wantKeys(t, "user:", "user:1", "user:2")
		k.wantKeys(t, "user*", "user*")
		for _, key := range []string{"b\xfe\x01", "b\xff", "b\xff\xff", "c"} {
			k.put(t, key, "")
		}
		k.wantKeys(t, "b\xfe", "b\xfe\x01")
		k.wantKeys(t, "b\xff", "b\xff", "b\xff\xff")
		k.wantKeys(t, "nobody")
		(&kvTest{KV: other}).wantKeys(t, "user", "user:4")
		for _, err := range k.ListKeys(ctx, "") {
			k.must(t, err)
			break // which ends it
		}
	}},
	{"what is given and what is got belongs to the caller", func(t *testing.T, k *kvTest) {
		v := []byte("mine")
		k.must(t, k.Put(ctx, stateful.KVEntry{Key: "a", Value: v}))
		v[0] = 'X'
		got, err := k.Get(ctx, "a")
		k.must(t, err)
		got[0][1] = 'X'
		k.want(t, "a", "mine")
	}},
	{"an entry with a ttl expires, and is then as if it had never been", func(t *testing.T, k *kvTest) {
		k.putFor(t, "short", "1", 60*time.Millisecond)
		k.putFor(t, "long", "2", time.Hour)
		k.putFor(t, "ever", "3", stateful.NoTTL)
		k.wantTTL(t, "short", true, 60*time.Millisecond)
		k.wantTTL(t, "long", true, time.Hour)
		k.wantTTL(t, "ever", true, 0)
		k.wantTTL(t, "missing", false, 0)
		k.u.Pass(80 * time.Millisecond)
		k.want(t, "short")
		k.wantTTL(t, "short", false, 0)
		k.wantKeys(t, "", "ever", "long")
		n, err := k.Delete(ctx, "short", "long")
		k.must(t, err)
		v, errTake := k.GetAndDelete(ctx, "short")
		k.must(t, errTake)
		if n != 1 || v != nil {
			t.Errorf("deleted %d, took %q", n, v)
		}
	}},
	{"to write again sets the ttl anew, also to none", func(t *testing.T, k *kvTest) {
		k.putFor(t, "a", "1", 60*time.Millisecond)
		k.putFor(t, "a", "2", time.Hour)
		k.putFor(t, "b", "1", 60*time.Millisecond)
		k.putFor(t, "b", "2", stateful.NoTTL)
		k.u.Pass(80 * time.Millisecond)
		k.want(t, "a", "2")
		k.want(t, "b", "2")
		k.wantTTL(t, "b", true, 0)
	}},
	{"entries without a ttl have that of the KV", func(t *testing.T, k *kvTest) {
		with := &kvTest{KV: k.u.Open(stateful.KVConfig{Prefix: k.prefix, TTL: time.Minute})}
		with.put(t, "a", "")
		with.putFor(t, "b", "", stateful.NoTTL)
		_, err := with.Increment(ctx, "c", 1, 0)
		k.must(t, err)
		with.wantTTL(t, "a", true, time.Minute)
		with.wantTTL(t, "b", true, 0)
		with.wantTTL(t, "c", true, time.Minute)
	}},
	{"get and delete gives a value to one", func(t *testing.T, k *kvTest) {
		k.put(t, "a", "x")
		k.wantOne(t, func() (bool, error) { v, err := k.GetAndDelete(ctx, "a"); return v != nil, err })
		k.want(t, "a")
	}},
	{"set if not exists lets one win", func(t *testing.T, k *kvTest) {
		e := stateful.KVEntry{Key: "a", Value: []byte("x"), TTL: 60 * time.Millisecond}
		k.wantOne(t, func() (bool, error) { return k.SetIfNotExists(ctx, e) })
		k.u.Pass(80 * time.Millisecond)
		if ok, err := k.SetIfNotExists(ctx, stateful.KVEntry{Key: "a", Value: []byte("y")}); !ok || err != nil {
			t.Errorf("an expired one is still there: %v, %v", ok, err)
		}
		k.want(t, "a", "y")
		k.wantTTL(t, "a", true, 0)
	}},
	{"compare and swap changes what it was told of", func(t *testing.T, k *kvTest) {
		swap := func(old []byte, value []byte, want bool) {
			t.Helper()
			if got, err := k.CompareAndSwap(ctx, old, stateful.KVEntry{Key: "a", Value: value}); got != want || err != nil {
				t.Errorf("swap %q for %q: %v, %v", old, value, got, err)
			}
		}
		swap([]byte{}, []byte("1"), false) // missing is not empty
		swap(nil, nil, true)
		swap(nil, []byte{}, true)
		swap(nil, []byte("1"), false)
		swap([]byte{}, []byte("1"), true)
		swap([]byte("2"), []byte("3"), false)
		swap([]byte("2"), nil, false)
		k.want(t, "a", "1")
		swap([]byte("1"), nil, true)
		k.want(t, "a")
	}},
	{"increments add up whoever makes them", func(t *testing.T, k *kvTest) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					if _, err := k.Increment(ctx, "n", 3, 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n, err := k.Increment(ctx, "n", -1, 0)
		k.must(t, err)
		if n != 299 {
			t.Errorf("the counter is %d, want 299", n)
		}
		k.want(t, "n", "299")
	}},
	{"the ttl of a counter begins when it does", func(t *testing.T, k *kvTest) {
		for range 2 {
			_, err := k.Increment(ctx, "n", 1, 100*time.Millisecond)
			k.must(t, err)
			k.u.Pass(60 * time.Millisecond)
		}
		n, err := k.Increment(ctx, "n", 1, stateful.NoTTL)
		k.must(t, err)
		if n != 1 {
			t.Errorf("the counter is %d, want a new one", n)
		}
		k.wantTTL(t, "n", true, 0)
	}},
	{"what is no counter is refused and stays", func(t *testing.T, k *kvTest) {
		for _, v := range []string{"", "x", "1.5", " 1", "+1", "007", "9223372036854775808", "1\n"} {
			k.put(t, "n", v)
			if _, err := k.Increment(ctx, "n", 1, 0); !errors.Is(err, stateful.ErrNotCounter) {
				t.Errorf("%q: %v", v, err)
			}
			k.want(t, "n", v)
		}
		for _, over := range []struct{ at, by int64 }{{math.MaxInt64, 1}, {math.MinInt64, -1}, {2, math.MaxInt64}} {
			k.put(t, "n", fmt.Sprint(over.at))
			if _, err := k.Increment(ctx, "n", over.by, 0); !errors.Is(err, stateful.ErrNotCounter) {
				t.Errorf("%d + %d: %v", over.at, over.by, err)
			}
			k.want(t, "n", fmt.Sprint(over.at))
		}
		k.put(t, "n", fmt.Sprint(int64(math.MinInt64)))
		n, err := k.Increment(ctx, "n", math.MaxInt64, 0)
		k.must(t, err)
		if n != -1 {
			t.Errorf("the sum of both ends is %d", n)
		}
	}},
	{"bad keys, values and ttls are refused", func(t *testing.T, k *kvTest) {
		long := strings.Repeat("k", 2049-len(k.prefix))
		_, errGet := k.Get(ctx, "a", "")
		_, errDelete := k.Delete(ctx, long)
		_, errTTL := k.SetIfNotExists(ctx, stateful.KVEntry{Key: "a", TTL: time.Microsecond})
		_, errIncrement := k.Increment(ctx, "a", 1, -time.Second)
		for what, err := range map[string]error{
			"an empty key": errGet, "a long key": errDelete, "a short ttl": errTTL, "a ttl below 0": errIncrement,
			"a large value": k.Put(ctx, stateful.KVEntry{Key: "b"}, stateful.KVEntry{Key: "a", Value: make([]byte, 8<<20+1)}),
		} {
			if !stateful.IsPermanent(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		k.wantKeys(t, "")
	}},
	{"a call whose context is done fails", func(t *testing.T, k *kvTest) {
		done := contextDone()
		_, err := k.Get(done, "a")
		if err == nil || k.Put(done, stateful.KVEntry{Key: "a"}) == nil {
			t.Errorf("got %v", err)
		}
		for _, err := range k.ListKeys(done, "") {
			if err == nil {
				t.Error("a list goes on")
			}
		}
		if n := k.Stats().ErrorCount; n != 3 {
			t.Errorf("%d errors are counted, want 3", n)
		}
	}},
	{"it counts what it does", func(t *testing.T, k *kvTest) {
		k.put(t, "a", "12345")
		_, err := k.Get(ctx, "a", "b")
		k.must(t, err)
		_, err = k.Delete(ctx, "a")
		k.must(t, err)
		got := k.Stats()
		if got.LatencyP50 <= 0 || got.LatencyP99 < got.LatencyP50 {
			t.Errorf("latencies are %v and %v", got.LatencyP50, got.LatencyP99)
		}
		got.LatencyP50, got.LatencyP99, got.RetryCount = 0, 0, 0
		want := stateful.KVStats{OperationCount: 3, GetCount: 1, PutCount: 1, DeleteCount: 1, Hits: 1, Misses: 1, BytesRead: 5, BytesWritten: 5}
		if got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	}},
	{"it answers and says what it takes", func(t *testing.T, k *kvTest) {
		k.must(t, k.Ping(ctx))
		n, err := k.MemoryUsage(ctx)
		k.must(t, err)
		if n < 0 {
			t.Errorf("it takes %d bytes", n)
		}
	}},
	{"typed values are what they were", func(t *testing.T, k *kvTest) { typedKV(t, k) }},
	{"a lease is one's own until its end, and tokens rise", func(t *testing.T, k *kvTest) { kvLease(t, k) }},
}

func (k *kvTest) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (k *kvTest) put(t *testing.T, key, value string) { t.Helper(); k.putFor(t, key, value, 0) }

func (k *kvTest) putFor(t *testing.T, key, value string, ttl time.Duration) {
	t.Helper()
	k.must(t, k.Put(ctx, stateful.KVEntry{Key: key, Value: []byte(value), TTL: ttl}))
}

// want checks that key has the value, or is missing when there is none.
func (k *kvTest) want(t *testing.T, key string, value ...string) {
	t.Helper()
	got, err := k.Get(ctx, key)
	k.must(t, err)
	if (got[0] != nil) != (len(value) > 0) || len(value) > 0 && string(got[0]) != value[0] {
		t.Errorf("key %q has the value %q (missing: %v), want %q", key, got[0], got[0] == nil, value)
	}
}

func (k *kvTest) wantKeys(t *testing.T, prefix string, want ...string) {
	t.Helper()
	var got []string
	for key, err := range k.ListKeys(ctx, prefix) {
		k.must(t, err)
		got = append(got, key)
	}
	sort.Strings(got)
	if !slices.Equal(got, want) {
		t.Errorf("keys with %q are %q, want %q", prefix, got, want)
	}
}

// wantTTL checks what is left, of which some may have passed by now.
func (k *kvTest) wantTTL(t *testing.T, key string, found bool, ttl time.Duration) {
	t.Helper()
	left, ok, err := k.TTL(ctx, key)
	k.must(t, err)
	if ok != found || left > ttl || ttl > time.Second && left < ttl-10*time.Second {
		t.Errorf("ttl of %q is %v, %v; want %v, %v", key, left, ok, ttl, found)
	}
}

// wantOne checks that of many calls at once one returns true.
func (k *kvTest) wantOne(t *testing.T, call func() (bool, error)) {
	t.Helper()
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ok, err := call()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if ok {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d won", won)
	}
}
