package postgres_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestKV(t *testing.T) {
	t.Parallel()
	b := open(t, config(testserver.SharedPostgres(t)))
	defer b.Close()
	statefultest.TestKV(t, statefultest.KVUnderTest{
		Open: b.KV,
		Pass: func(d time.Duration) { _ = clock.Sleep(ctx, d) },
	})
}

// What expired leaves the table with later writes.
func TestExpiredEntriesAreSwept(t *testing.T) {
	t.Parallel()
	c := config(testserver.SharedPostgres(t))
	b := open(t, c)
	defer b.Close()
	kv := b.KV(stateful.KVConfig{})
	var es []stateful.KVEntry
	for i := range 150 {
		es = append(es, stateful.KVEntry{Key: fmt.Sprint(i), TTL: 10 * time.Millisecond})
	}
	if err := kv.Put(ctx, es...); err != nil {
		t.Fatal(err)
	}
	_ = clock.Sleep(ctx, 30*time.Millisecond)
	for range 2 { // a hundred with each
		if _, err := kv.Increment(ctx, "n", 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(ctx, c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	n := 0
	if err := conn.QueryRow(ctx, "select count(*) from "+c.Schema+".kv").Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("%d rows are in the table, want the counter's", n)
	}
}

// A call whose answer is lost is made again only when that changes nothing. Else it says that nobody knows.
func TestLostAnswersOfTheKV(t *testing.T) {
	t.Parallel()
	p := testserver.NewProxy(t, testserver.NewPostgres(t).Addr)
	c := config(testserver.PostgresDSN(p.Addr))
	c.BreakerFailures = 100
	b := open(t, c)
	defer b.Close()
	kv := b.KV(stateful.KVConfig{})
	if err := kv.Put(ctx, stateful.KVEntry{Key: "a", Value: []byte("1")}); err != nil {
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
	errTake := lose(func() error { _, err := kv.GetAndDelete(ctx, "a"); return err })
	errGet := lose(func() error { _, err := kv.Get(ctx, "a"); return err })
	if n := kv.Stats().RetryCount; n != 3 { // of the get
		t.Errorf("%d calls were made again", n)
	}
	for what, err := range map[string]error{"increment": errAdd, "take": errTake} {
		if !errors.Is(err, stateful.ErrKVUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if errGet == nil || errors.Is(errGet, stateful.ErrKVUnknown) {
		t.Errorf("get: %v", errGet)
	}
	v, err := kv.Get(ctx, "n", "a")
	if err != nil || string(v[0]) != "1" || v[1] != nil {
		t.Errorf("got %q, %v, want the effect of each, once", v, err)
	}
}
