package pebble_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/statefultest"
)

// hand is a clock that is moved by hand.
type hand struct{ ms atomic.Int64 }

func (h *hand) now() time.Time       { return time.UnixMilli(h.ms.Load()) }
func (h *hand) pass(d time.Duration) { h.ms.Add(d.Milliseconds()) }

func openFS(t *testing.T, fs vfs.FS) *pebble.Backend {
	t.Helper()
	b, err := pebble.New(ctx, pebble.Config{Dir: "db", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestKV(t *testing.T) {
	b := openFS(t, vfs.NewMem())
	h := &hand{}
	h.ms.Store(1e12)
	statefultest.TestKV(t, statefultest.KVUnderTest{
		Open: func(c stateful.KVConfig) stateful.KV { c.Now = h.now; return b.KV(c) },
		Pass: h.pass,
	})
}

// What a call that returned has written is there after a crash.
func TestKVSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	kv := openFS(t, fs).KV(stateful.KVConfig{})
	_, errAdd := kv.Increment(ctx, "n", 41, stateful.NoTTL)
	_, errSet := kv.SetIfNotExists(ctx, stateful.KVEntry{Key: "b", Value: []byte("2"), TTL: time.Hour})
	_, errSwap := kv.CompareAndSwap(ctx, []byte("2"), stateful.KVEntry{Key: "b", Value: []byte("3")})
	put := stateful.KVEntry{Key: "c"}
	_, errTake := kv.GetAndDelete(ctx, "c")
	if err := errors.Join(errAdd, errSet, errSwap, kv.Put(ctx, put), errTake); err != nil {
		t.Fatal(err)
	}
	kv = openFS(t, fs.CrashClone(vfs.CrashCloneCfg{})).KV(stateful.KVConfig{})
	n, err := kv.Increment(ctx, "n", 1, 0)
	if n != 42 || err != nil {
		t.Errorf("the counter is %d, %v", n, err)
	}
	if v, err := kv.Get(ctx, "b", "c"); err != nil || string(v[0]) != "3" || v[1] == nil {
		t.Errorf("got %q, %v", v, err)
	}
}

// What is stored, byte for byte, and nothing is left of what expired.
func TestFormatOfKV(t *testing.T) {
	b := openFS(t, vfs.NewMem())
	h := &hand{}
	h.ms.Store(0x0102030405)
	kv := b.KV(stateful.KVConfig{Prefix: "p:", Now: h.now})
	if err := errors.Join(kv.Put(ctx, stateful.KVEntry{Key: "a", Value: []byte("1")}),
		kv.Put(ctx, stateful.KVEntry{Key: "b", Value: []byte("2"), TTL: time.Millisecond})); err != nil {
		t.Fatal(err)
	}
	wantStored(t, b, `6b703a61 0100000000000000 0031`, `6b703a62 0100000001020304 0632`, `78 0000000102030406 703a62`)
	h.pass(time.Second)
	if _, err := kv.Delete(ctx, "none"); err != nil {
		t.Fatal(err)
	}
	wantStored(t, b, `6b703a61 0100000000000000 0031`)
	if err := b.DB().Set([]byte("kp:a"), []byte("\x02aaaaaaaab"), pebbledb.Sync); err != nil {
		t.Fatal(err)
	}
	_, err := kv.Get(ctx, "a")
	if err == nil {
		t.Error("an entry of a newer format was read")
	}
}

func wantStored(t *testing.T, b *pebble.Backend, want ...string) {
	t.Helper()
	it, err := b.DB().NewIter(&pebbledb.IterOptions{LowerBound: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var got []string
	for ok := it.First(); ok; ok = it.Next() {
		got = append(got, hex.EncodeToString(it.Key())+hex.EncodeToString(it.Value()))
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("stored are %q, want %q", got, want)
	}
}
