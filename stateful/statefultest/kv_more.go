package statefultest

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/stateful"
)

func contextDone() context.Context {
	done, cancel := context.WithCancel(ctx)
	cancel()
	return done
}

func typedKV(t *testing.T, k *kvTest) {
	type seat struct {
		Row  int
		Name string
	}
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[seat]{})
	k.must(t, err)
	seats := stateful.NewTyped(k.KV, codec)
	want := seat{7, "ana"}
	k.must(t, seats.Put(ctx, "a", want, time.Hour))
	if got, ok, err := seats.Get(ctx, "a"); got != want || !ok || err != nil {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	k.wantTTL(t, "a", true, time.Hour)
	if ok, err := seats.SetIfNotExists(ctx, "a", seat{}, 0); ok || err != nil {
		t.Errorf("what is there was written: %v, %v", ok, err)
	}
	if got, ok, err := seats.GetAndDelete(ctx, "a"); got != want || !ok || err != nil {
		t.Errorf("took %+v, %v, %v", got, ok, err)
	}
	if got, ok, err := seats.Get(ctx, "a"); ok || err != nil || got != (seat{}) {
		t.Errorf("got %+v, %v, %v of what was taken", got, ok, err)
	}
	k.put(t, "bad", "\xff\xff\xff")
	if _, ok, err := seats.Get(ctx, "bad"); ok || err == nil {
		t.Error("what is no such value was decoded")
	}
}

func kvLease(t *testing.T, k *kvTest) {
	const ttl = 200 * time.Millisecond
	first, err := stateful.AcquireLease(ctx, k.KV, "job", ttl)
	k.must(t, err)
	if _, err := stateful.AcquireLease(ctx, k.KV, "job", ttl); !errors.Is(err, stateful.ErrLeaseHeld) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := stateful.AcquireLease(ctx, k.KV, "other", ttl); err != nil {
		t.Errorf("of another name: %v", err)
	}
	k.must(t, first.Renew(ctx))
	k.u.Pass(ttl + 50*time.Millisecond)
	if err := first.Renew(ctx); !errors.Is(err, stateful.ErrLeaseLost) {
		t.Errorf("one that ended: %v", err)
	}
	second, err := stateful.AcquireLease(ctx, k.KV, "job", time.Hour)
	k.must(t, err)
	if second.Token() <= first.Token() {
		t.Errorf("tokens are %d and %d", first.Token(), second.Token())
	}
	if err := first.Renew(ctx); !errors.Is(err, stateful.ErrLeaseLost) {
		t.Errorf("one that another has: %v", err)
	}
	k.must(t, first.Release(ctx)) // takes nothing from the second
	k.must(t, second.Renew(ctx))
	k.must(t, second.Release(ctx))
	if err := second.Renew(ctx); !errors.Is(err, stateful.ErrLeaseLost) {
		t.Errorf("one that was released: %v", err)
	}
	third, err := stateful.AcquireLease(ctx, k.KV, "job", time.Hour)
	k.must(t, err)
	if third.Token() <= second.Token() {
		t.Errorf("tokens are %d and %d", second.Token(), third.Token())
	}
	if _, err := stateful.AcquireLease(ctx, k.KV, "none", 0); err == nil {
		t.Error("a lease for no time was given")
	}
}

// kvModel plays random calls and compares with a map. Nothing expires meanwhile.
func kvModel(r *rapid.T, kv stateful.KV) {
	m := &kvMap{kv: kv, is: map[string]string{}}
	r.Repeat(map[string]func(*rapid.T){
		"": m.check, "put": m.put, "delete": m.delete, "take": m.take, "swap": m.swap, "increment": m.increment,
	})
}

type kvMap struct {
	kv stateful.KV
	is map[string]string
}

var (
	kvKeys   = rapid.SampledFrom([]string{"a", "ab", "abc", "b", "b\x00", "\xff"})
	kvValues = rapid.SampledFrom([]string{"", "1", "-5", "x", "9223372036854775807"})
	kvTTLs   = rapid.SampledFrom([]time.Duration{0, time.Hour, stateful.NoTTL})
)

func drawEntry(r *rapid.T) stateful.KVEntry {
	return stateful.KVEntry{Key: kvKeys.Draw(r, "key"), Value: []byte(kvValues.Draw(r, "value")), TTL: kvTTLs.Draw(r, "ttl")}
}

func orFatal(r *rapid.T, err error) {
	if err != nil {
		r.Fatal(err)
	}
}

func (m *kvMap) check(r *rapid.T) {
	var keys []string
	for k, err := range m.kv.ListKeys(ctx, "") {
		orFatal(r, err)
		keys = append(keys, k)
	}
	if len(keys) != len(m.is) {
		r.Fatalf("keys are %q, want %q", keys, m.is)
	}
	keys = append(keys, "a", "ab", "b")
	vals, err := m.kv.Get(ctx, keys...)
	orFatal(r, err)
	for i, k := range keys {
		m.same(r, k, vals[i])
	}
}

func (m *kvMap) same(r *rapid.T, key string, got []byte) {
	if want, ok := m.is[key]; ok != (got != nil) || want != string(got) {
		r.Fatalf("%q is %q, want %q", key, got, want)
	}
}

func (m *kvMap) put(r *rapid.T) {
	es := []stateful.KVEntry{drawEntry(r), drawEntry(r)}
	orFatal(r, m.kv.Put(ctx, es...))
	for _, e := range es {
		m.is[e.Key] = string(e.Value)
	}
}

func (m *kvMap) delete(r *rapid.T) {
	a, b := kvKeys.Draw(r, "a"), kvKeys.Draw(r, "b")
	n, err := m.kv.Delete(ctx, a, b)
	orFatal(r, err)
	before := len(m.is)
	delete(m.is, a)
	delete(m.is, b)
	if n != before-len(m.is) {
		r.Fatalf("deleted %d, want %d", n, before-len(m.is))
	}
}

func (m *kvMap) take(r *rapid.T) {
	k := kvKeys.Draw(r, "key")
	v, err := m.kv.GetAndDelete(ctx, k)
	orFatal(r, err)
	m.same(r, k, v)
	delete(m.is, k)
}

func (m *kvMap) swap(r *rapid.T) {
	e, old := drawEntry(r), []byte(kvValues.Draw(r, "old"))
	if rapid.Bool().Draw(r, "missing") {
		old = nil
	}
	if rapid.Bool().Draw(r, "remove") {
		e.Value = nil
	}
	did, err := m.kv.CompareAndSwap(ctx, old, e)
	orFatal(r, err)
	is, ok := m.is[e.Key]
	if want := ok == (old != nil) && is == string(old); did != want {
		r.Fatalf("swapped %q for %q: %v", old, e.Value, did)
	}
	switch {
	case did && e.Value == nil:
		delete(m.is, e.Key)
	case did:
		m.is[e.Key] = string(e.Value)
	}
}

func (m *kvMap) increment(r *rapid.T) {
	k, by := kvKeys.Draw(r, "key"), rapid.Int64Range(-3, 3).Draw(r, "by")
	n, err := m.kv.Increment(ctx, k, by, kvTTLs.Draw(r, "ttl"))
	old, ok := m.is[k]
	if !ok {
		old = "0"
	}
	is, bad := strconv.ParseInt(old, 10, 64)
	if bad != nil || by > 0 && is+by < is {
		if !errors.Is(err, stateful.ErrNotCounter) {
			r.Fatalf("%q + %d: %d, %v", old, by, n, err)
		}
		return
	}
	orFatal(r, err)
	if n != is+by {
		r.Fatalf("%q + %d is %d", old, by, n)
	}
	m.is[k] = strconv.FormatInt(n, 10)
}
