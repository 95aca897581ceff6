package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis writes of each failed dial
	code := m.Run()
	testserver.StopShared()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var ctx = context.Background()

var task = stateful.TaskID{App: "app", Handler: "h", Partition: 7}

var prefixes atomic.Int64

// newPrefix is one that no other test has, and no other run.
func newPrefix() string { return fmt.Sprintf("pondage-test-%d-%d:", os.Getpid(), prefixes.Add(1)) }

// config is for an empty backend on the server at addr.
func config(addr string) redis.Config {
	return redis.Config{URLs: []string{"redis://" + addr}, Prefix: newPrefix(), PoolMin: 1, RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
}

func newBackend(c redis.Config) (*redis.Backend, error) { return redis.New(ctx, c) }

func open(t statefultest.TB, c redis.Config) *redis.Backend {
	t.Helper()
	b, err := redis.New(ctx, c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// crashable is a backend whose process may crash.
type crashable struct {
	*redis.Backend
	c redis.Config
}

func (b crashable) Reopen(t statefultest.TB) stateful.Backend {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("%v", err)
	}
	return crashable{open(t, b.c), b.c}
}

func TestBackend(t *testing.T) {
	for _, index := range []bool{false, true} {
		t.Run(fmt.Sprintf("index=%t", index), func(t *testing.T) {
			statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
				c := config(testserver.SharedRedis(t))
				c.Index = index
				return crashable{open(t, c), c}
			})
		})
	}
}

func TestLeases(t *testing.T) {
	statefultest.TestLeases(t, func(t *testing.T) stateful.Leaser { return open(t, config(testserver.SharedRedis(t))) },
		func(d time.Duration) { _ = clock.Sleep(ctx, d+10*time.Millisecond) })
}

func mustOpen(t *testing.T, b stateful.Backend) (stateful.Store, stateful.Head) {
	t.Helper()
	s, head, err := b.Open(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	return s, head
}

func commit(s stateful.Store, seq uint64, writes ...stateful.Write) error {
	return s.Submit(ctx, stateful.Commit{Seq: seq, Token: seq, Writes: writes}).Wait(ctx)
}

func mustCommit(t *testing.T, s stateful.Store, seq uint64, writes ...stateful.Write) {
	t.Helper()
	if err := commit(s, seq, writes...); err != nil {
		t.Fatal(err)
	}
}

func put(key, value string) stateful.Write {
	return stateful.Write{Key: key, Value: append([]byte{}, value...)}
}

func wantText(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want it to say %q", err, text)
		}
	}
}
