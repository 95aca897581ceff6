package memory_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/statefultest"
)

// hand is a clock that is moved by hand.
type hand struct{ ms atomic.Int64 }

func (h *hand) now() time.Time       { return time.UnixMilli(h.ms.Load()) }
func (h *hand) pass(d time.Duration) { h.ms.Add(d.Milliseconds()) }

func TestKV(t *testing.T) {
	b := memory.New()
	defer b.Close()
	h := &hand{}
	h.ms.Store(1e12)
	statefultest.TestKV(t, statefultest.KVUnderTest{
		Open: func(c stateful.KVConfig) stateful.KV { c.Now = h.now; return b.KV(c) },
		Pass: h.pass,
	})
}

// What expired takes no memory for longer than until the next writes.
func TestExpiredEntriesAreSwept(t *testing.T) {
	b := memory.New()
	defer b.Close()
	h := &hand{}
	kv := b.KV(stateful.KVConfig{Now: h.now})
	ctx := context.Background()
	for round := range 10 {
		for i := range 200 {
			e := stateful.KVEntry{Key: fmt.Sprint(round, "-", i), Value: make([]byte, 100), TTL: time.Second}
			if err := errors.Join(kv.Put(ctx, e), kv.Put(ctx, e)); err != nil {
				t.Fatal(err)
			}
		}
		h.pass(2 * time.Second)
	}
	n, err := kv.MemoryUsage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n > 2*200*300 {
		t.Errorf("%d bytes are taken by 200 entries that may be there", n)
	}
	if _, err := kv.Delete(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Delete(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if n, _ := kv.MemoryUsage(ctx); n != 0 {
		t.Errorf("%d bytes are left by entries that are gone", n)
	}
}

func TestKVOfAClosedBackend(t *testing.T) {
	b := memory.New()
	kv := b.KV(stateful.KVConfig{})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := kv.Get(context.Background(), "a")
	for _, err := range []error{err, kv.Put(context.Background(), stateful.KVEntry{Key: "a"}), kv.Ping(context.Background())} {
		if !errors.Is(err, stateful.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

// To reach: 2 M operations a second and core.
func BenchmarkKV(b *testing.B) {
	back := memory.New()
	defer back.Close()
	kv := back.KV(stateful.KVConfig{})
	ctx := context.Background()
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%06d", i)
		if err := kv.Put(ctx, stateful.KVEntry{Key: keys[i], Value: make([]byte, 100)}); err != nil {
			b.Fatal(err)
		}
	}
	e := stateful.KVEntry{Value: make([]byte, 100)}
	for name, op := range map[string]func(i int) error{
		"get":       func(i int) error { _, err := kv.Get(ctx, keys[i]); return err },
		"put":       func(i int) error { e := e; e.Key = keys[i]; return kv.Put(ctx, e) },
		"increment": func(i int) error { _, err := kv.Increment(ctx, "n", 1, 0); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := op(i % len(keys)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}
