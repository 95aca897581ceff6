package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestKV(t *testing.T) {
	for _, index := range []bool{false, true} {
		t.Run(fmt.Sprintf("index=%t", index), func(t *testing.T) {
			c := config(testserver.SharedRedis(t))
			c.Index = index
			b := open(t, c)
			defer b.Close()
			statefultest.TestKV(t, statefultest.KVUnderTest{
				Open: b.KV,
				Pass: func(d time.Duration) { _ = clock.Sleep(ctx, d) },
			})
		})
	}
}

// Keys and expired ones leave the index, which would otherwise grow for ever.
func TestListsKeepTheIndexSmall(t *testing.T) {
	r := testserver.NewRedis(t)
	c := config(r.Addr)
	c.Index = true
	b := open(t, c)
	defer b.Close()
	kv := b.KV(stateful.KVConfig{})
	for i := range 20 {
		if err := kv.Put(ctx, stateful.KVEntry{Key: fmt.Sprint("k", i), TTL: 50 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	_ = clock.Sleep(ctx, 100*time.Millisecond)
	for key, err := range kv.ListKeys(ctx, "") {
		t.Errorf("%q, %v is listed", key, err)
	}
	if n := r.Do("ZCARD " + c.Prefix + "kv"); n != "0" {
		t.Errorf("%s keys are left in the index", n)
	}
}

// A call whose answer is lost is made again only when that changes nothing. Else it says that nobody knows.
func TestLostAnswersOfTheKV(t *testing.T) {
	p := testserver.NewProxy(t, testserver.SharedRedis(t))
	c := config(p.Addr)
	c.BreakerFailures = 100
	b := open(t, c)
	defer b.Close()
	kv := b.KV(stateful.KVConfig{})
	if err := kv.Put(ctx, stateful.KVEntry{Key: "a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Increment(ctx, "n", 1, 0); err != nil { // so that the server knows the script
		t.Fatal(err)
	}
	if _, err := kv.SetIfNotExists(ctx, stateful.KVEntry{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	lose := func(call func() error) error {
		if err := kv.Ping(ctx); err != nil { // so that it has a connection
			t.Fatal(err)
		}
		p.Set(testserver.Mode{CutAnswers: 1})
		defer p.Set(testserver.Mode{})
		return call()
	}
	errAdd := lose(func() error { _, err := kv.Increment(ctx, "n", 1, 0); return err })
	errSet := lose(func() error {
		_, err := kv.SetIfNotExists(ctx, stateful.KVEntry{Key: "b", Value: []byte("2")})
		return err
	})
	errTake := lose(func() error { _, err := kv.GetAndDelete(ctx, "a"); return err })
	errGet := lose(func() error { _, err := kv.Get(ctx, "a"); return err })
	if n := kv.Stats().RetryCount; n != 3 { // of the get
		t.Errorf("%d calls were made again", n)
	}
	for what, err := range map[string]error{"increment": errAdd, "set": errSet, "take": errTake} {
		if !errors.Is(err, stateful.ErrKVUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if errGet == nil || errors.Is(errGet, stateful.ErrKVUnknown) {
		t.Errorf("get: %v", errGet)
	}
	v, err := kv.Get(ctx, "n", "b", "a")
	if err != nil || string(v[0]) != "2" || string(v[1]) != "2" || v[2] != nil {
		t.Errorf("got %q, %v, want the effect of each, once", v, err)
	}
}

// To reach: a list of 100 keys among a million in a millisecond, index on.
func BenchmarkListKeys(b *testing.B) {
	r := testserver.NewRedis(b)
	c := config(r.Addr)
	c.Index = true
	back := open(b, c)
	defer back.Close()
	kv := back.KV(stateful.KVConfig{})
	es := make([]stateful.KVEntry, 1000)
	for i := range 1000 {
		for j := range es {
			es[j].Key = fmt.Sprintf("user:%04d:%03d:%d", i, j/100*100, j%100)
		}
		if err := kv.Put(ctx, es...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		for _, err := range kv.ListKeys(ctx, "user:0500:300:") {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d keys are listed", n)
		}
	}
}
