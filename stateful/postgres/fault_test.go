package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/remotetest"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

// stubborn is a configuration whose breaker stays closed.
func stubborn(dsn string) postgres.Config {
	c := config(dsn)
	c.BreakerFailures = 1_000_000
	return c
}

// impatient is one that also finds out soon that nobody answers.
func impatient(dsn string) postgres.Config {
	c := stubborn(dsn)
	c.Timeout, c.DialTimeout = 2*patience, 2*patience
	return c
}

// behind returns a proxy in front of the shared server, and the server's DSN through it.
func behind(t *testing.T) (p *testserver.Proxy, dsn string) {
	t.Helper()
	direct := testserver.SharedPostgres(t)
	c, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("%s:%d", c.Host, c.Port)
	p = testserver.NewProxy(t, at)
	return p, strings.Replace(direct, at, p.Addr, 1)
}

// proxied returns a backend that reaches the server through a proxy, and one that does not.
func proxied(t *testing.T) (p *testserver.Proxy, through, direct *postgres.Backend) {
	t.Helper()
	p, dsn := behind(t)
	c := impatient(dsn)
	through = open(t, c)
	c.DSN = testserver.SharedPostgres(t)
	direct = open(t, c)
	t.Cleanup(func() {
		p.Set(testserver.Mode{})
		if err := errors.Join(through.Close(), direct.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, through, direct
}

func TestALostAnswerIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		mode   testserver.Mode
		landed bool
	}{
		{"the answer is cut", testserver.Mode{CutAnswers: 1}, true},
		{"the answer does not come", testserver.Mode{HoldDown: true}, true},
		{"the request waits on its way", testserver.Mode{HoldUp: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, b, direct := proxied(t)
			var s stateful.Store
			var before stateful.Head
			for range 20 { // a connection that was idle is tried first, and may be what is cut
				s, before = mustOpen(t, b)
				mustCommit(t, s, before.Seq+1)
				p.Set(tt.mode)
				err := commit(s, before.Seq+2, put("a", "first"))
				if errors.Is(err, stateful.ErrCommitUnknown) {
					break
				}
				t.Logf("the commit says %v", err)
				p.Set(testserver.Mode{})
			}
			if _, err := s.Get(ctx, "a"); !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("get says %v", err)
			}
			if err := commit(s, before.Seq+3); !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("the next commit says %v", err)
			}
			next, head := mustOpen(t, direct)
			if landed := head.Seq == before.Seq+2; landed != tt.landed {
				t.Errorf("the head is %+v, want landed = %t", head, tt.landed)
			}
			mustCommit(t, next, head.Seq+1, put("a", "next"))
			// The first arrives now, if it has not.
			p.Set(testserver.Mode{})
			for p.Links() > 0 {
				p.Reset() // idle connections
				_ = clock.Sleep(ctx, time.Millisecond)
			}
			if v, err := next.Get(ctx, "a"); err != nil || string(v[0]) != "next" {
				t.Errorf("a = %q, %v: the late commit landed", v, err)
			}
			mustCommit(t, next, head.Seq+2)
		})
	}
}

// The answers to an open get lost; still each raises the epoch by one.
func TestAnOpenIsRepeatedSafely(t *testing.T) {
	t.Parallel()
	p, dsn := behind(t)
	c := stubborn(dsn)
	c.Retries = 1000
	b := open(t, c)
	defer b.Close()
	// Connecting alone takes several answers.
	p.Set(testserver.Mode{CutAnswers: 0.1})
	for epoch := uint64(1); epoch <= 15; epoch++ {
		if _, head := mustOpen(t, b); head.Epoch != epoch {
			t.Fatalf("epoch %d, want %d", head.Epoch, epoch)
		}
	}
	// Nor does a lease get lost whose answer did, or block its own repetition.
	for token := uint64(1); token <= 10; token++ {
		l, err := b.Lease(ctx, task, time.Time{}, time.Minute)
		if err != nil || l.Token() != token {
			t.Fatalf("lease %d: %v, %v", token, l, err)
		}
		if err := l.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	p, dsn := behind(t)
	b := open(t, stubborn(dsn))
	defer b.Close()
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1, put("a", "1"))
	for range 10 {
		p.Reset()
		if v, err := s.Get(ctx, "a"); err != nil || string(v[0]) != "1" {
			t.Fatalf("get: %q, %v", v, err)
		}
		p.Reset()
		for _, err := range s.Scan(ctx, "", "") {
			if err != nil {
				t.Fatalf("scan: %v", err)
			}
		}
	}
}

func TestNothingIsLostWhateverTheNetworkDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		disturb func(*testserver.Proxy)
		unknown bool // some outcomes must be
		times   int
	}{
		{"latency", func(p *testserver.Proxy) { p.Set(testserver.Mode{Latency: 2 * time.Millisecond}) }, false, 1},
		{"resets", func(p *testserver.Proxy) { p.Reset() }, true, 6},
		{"lost answers", func(p *testserver.Proxy) { p.Set(testserver.Mode{CutAnswers: 0.1}) }, true, 6},
		{"black holes", func(p *testserver.Proxy) {
			p.Set(testserver.Mode{HoldUp: true, HoldDown: true})
			_ = clock.Sleep(ctx, 3*patience)
			p.Set(testserver.Mode{})
		}, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, dsn := behind(t)
			b := open(t, impatient(dsn))
			h := remotetest.StartHammer(t, b)
			for range tt.times {
				h.Await(20)
				tt.disturb(p)
			}
			h.Await(20)
			p.Set(testserver.Mode{})
			h.Stop(tt.unknown)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that ends sessions, or is killed, has every commit that it acknowledged, and of the
// others none in part.
func TestTheServerIsKilledAmidCommits(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t)
	b := open(t, stubborn(s.DSN))
	h := remotetest.StartHammer(t, b)
	for range 10 {
		h.Await(5)
		s.Exec("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pondage'")
	}
	for range 3 {
		h.Await(20)
		s.Kill()
		s.Start()
	}
	h.Await(10)
	h.Stop(true)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheSourcePausesWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	for name, outage := range remotetest.Outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dsn := behind(t)
			c := impatient(dsn)
			c.BreakerFailures, c.BreakerFor = 3, 200*time.Millisecond
			b := open(t, c)
			defer b.Close()
			remotetest.Pauses(t, b, p, outage, "postgres: ")
		})
	}
}

// Rows that are gone, or older than what was acknowledged, are never taken for a task that just begins, nor for one that
// is further behind.
func TestALossIsRefused(t *testing.T) {
	t.Parallel()
	dsn := testserver.SharedPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, tt := range []struct{ name, lose, want string }{
		{"removed", "delete from task", "nothing of the task is there"},
		{"gone back to an older copy", "update task set seq = 1, token = 1", "commit 1 of epoch 1 is the last it has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(dsn)
			b := open(t, c)
			s, _ := mustOpen(t, b)
			mustCommit(t, s, 1, put("a", "1"))
			mustCommit(t, s, 2, put("a", "2"))
			if _, err := conn.Exec(ctx, "set search_path = "+c.Schema); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(ctx, tt.lose); err != nil {
				t.Fatal(err)
			}
			_, getErr := s.Get(ctx, "a")
			errs := map[string]error{"get": getErr, "commit": commit(s, 3)}
			for range 2 { // nor does asking again
				_, _, err = b.Open(ctx, task)
				errs["open"] = err
			}
			for what, err := range errs {
				if !errors.Is(err, postgres.ErrLost) {
					t.Errorf("%s says %v, want %v", what, err, postgres.ErrLost)
				}
				wantText(t, err, tt.want, "restore the server's data", "start this process again")
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			// The way out that the error names.
			b = open(t, c)
			s, head := mustOpen(t, b)
			mustCommit(t, s, head.Seq+1)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
