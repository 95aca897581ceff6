package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
	"github.com/pondage/pondage/stateful/statefultest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("20") // each makes a schema and connects anew at every crash
	}
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

// patience is how long something may take that a test waits for.
const patience = time.Second

var schemas atomic.Int64

// newSchema is one that no other test has, and no other run.
func newSchema() string { return fmt.Sprintf("pondage_test_%d_%d", os.Getpid(), schemas.Add(1)) }

// config is for an empty backend on the server.
func config(dsn string) postgres.Config {
	return postgres.Config{
		DSN: dsn, Schema: newSchema(), RetryBase: time.Millisecond, RetryMax: 10 * time.Millisecond,
		TakeOverAfter: time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

func open(t statefultest.TB, c postgres.Config) *postgres.Backend {
	t.Helper()
	b, err := postgres.New(ctx, c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return b
}

// crashable is a backend whose process may crash.
type crashable struct {
	*postgres.Backend
	c postgres.Config
}

func (b crashable) Reopen(t statefultest.TB) stateful.Backend {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("%v", err)
	}
	return crashable{open(t, b.c), b.c}
}

func TestBackend(t *testing.T) {
	t.Parallel()
	statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
		c := config(testserver.SharedPostgres(t))
		return crashable{open(t, c), c}
	})
}

// A pooler that gives each transaction another session is no different.
func TestBackendBehindAPooler(t *testing.T) {
	t.Parallel()
	p := testserver.NewPgBouncer(t, testserver.NewPostgres(t))
	statefultest.TestBackend(t, func(t *testing.T) stateful.Backend {
		c := config(p.DSN)
		c.Pooler = true
		return crashable{open(t, c), c}
	})
}

func TestLeases(t *testing.T) {
	t.Parallel()
	statefultest.TestLeases(t, func(t *testing.T) stateful.Leaser { return open(t, config(testserver.SharedPostgres(t))) },
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
