package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/internal/remotetest"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/redis"
)

// closed is a configuration whose breaker stays closed.
func closed(addr string) redis.Config {
	c := config(addr)
	c.BreakerFailures = 1_000_000
	return c
}

// impatient is one that also finds out soon that nobody answers. On a busy machine it may think so of a server that does.
func impatient(addr string) redis.Config {
	c := closed(addr)
	c.ReadTimeout, c.WriteTimeout, c.DialTimeout = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	return c
}

// proxied returns a backend that reaches the server through a proxy, and one that does not.
func proxied(t *testing.T) (p *testserver.Proxy, through, direct *redis.Backend) {
	t.Helper()
	addr := testserver.SharedRedis(t)
	p = testserver.NewProxy(t, addr)
	c := impatient(p.Addr)
	through = open(t, c)
	patient := closed(addr)
	patient.Prefix = c.Prefix
	direct = open(t, patient)
	t.Cleanup(func() {
		p.Set(testserver.Mode{})
		if err := errors.Join(through.Close(), direct.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, through, direct
}

func TestALostAnswerIsAnUnknownOutcome(t *testing.T) {
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
			s, _ := mustOpen(t, b)
			mustCommit(t, s, 1) // the server knows the script
			p.Set(tt.mode)
			if err := commit(s, 2, put("a", "first")); !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("the commit says %v", err)
			}
			if _, err := s.Get(ctx, "a"); !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("get says %v", err)
			}
			if err := commit(s, 3); !errors.Is(err, stateful.ErrCommitUnknown) {
				t.Errorf("the next commit says %v", err)
			}
			next, head := mustOpen(t, direct)
			if landed := head.Seq == 2 && head.Token == 2; landed != tt.landed {
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

// A commit that arrives late, from the same owner, while nobody has opened the task since.
func TestALateCommitLandsOnce(t *testing.T) {
	p, b, _ := proxied(t)
	s, _ := mustOpen(t, b)
	p.Set(testserver.Mode{HoldUp: true})
	if err := commit(s, 1, put("a", "1")); !errors.Is(err, stateful.ErrCommitUnknown) {
		t.Errorf("the commit says %v", err)
	}
	p.Set(testserver.Mode{})
	for { // until it has arrived
		s, head := mustOpen(t, b)
		if head.Seq == 1 {
			mustCommit(t, s, 2, put("a", "2"))
			return
		}
		// Opened in time: it is refused for ever, so send it again.
		mustCommit(t, s, 1, put("a", "1"))
	}
}

// The answers to an open get lost; still each raises the epoch by one.
func TestAnOpenIsRepeatedSafely(t *testing.T) {
	p := testserver.NewProxy(t, testserver.SharedRedis(t))
	c := impatient(p.Addr)
	c.Retries = 1000
	b := open(t, c)
	defer b.Close()
	p.Set(testserver.Mode{CutAnswers: 0.4})
	for epoch := uint64(1); epoch <= 30; epoch++ {
		if _, head := mustOpen(t, b); head.Epoch != epoch {
			t.Fatalf("epoch %d, want %d", head.Epoch, epoch)
		}
	}
	// Nor does a lease get lost whose answer did, or block its own repetition.
	for token := uint64(1); token <= 20; token++ {
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
	for _, index := range []bool{false, true} {
		p := testserver.NewProxy(t, testserver.SharedRedis(t))
		c := impatient(p.Addr)
		c.Index, c.Retries = index, 1000
		b := open(t, c)
		s, _ := mustOpen(t, b)
		mustCommit(t, s, 1, put("a", "1"))
		p.Set(testserver.Mode{CutAnswers: 0.4})
		for range 10 {
			if v, err := s.Get(ctx, "a"); err != nil || string(v[0]) != "1" {
				t.Errorf("get: %q, %v", v, err)
			}
			if err := scanErr(s); err != nil {
				t.Errorf("scan: %v", err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingIsLostWhateverTheNetworkDoes(t *testing.T) {
	for _, index := range []bool{false, true} {
		for _, tt := range []struct {
			name    string
			disturb func(*testserver.Proxy)
			unknown bool // some outcomes must be
		}{
			{"latency", func(p *testserver.Proxy) { p.Set(testserver.Mode{Latency: 2 * time.Millisecond}) }, false},
			{"resets", func(p *testserver.Proxy) { p.Reset() }, true},
			{"lost answers", func(p *testserver.Proxy) { p.Set(testserver.Mode{CutAnswers: 0.2}) }, true},
			{"black holes", func(p *testserver.Proxy) {
				p.Set(testserver.Mode{HoldUp: true, HoldDown: true})
				_ = clock.Sleep(ctx, 400*time.Millisecond)
				p.Set(testserver.Mode{})
			}, true},
			{"refused connections", func(p *testserver.Proxy) {
				p.Set(testserver.Mode{RefuseDials: true})
				p.Reset()
				_ = clock.Sleep(ctx, 20*time.Millisecond)
				p.Set(testserver.Mode{})
			}, true},
		} {
			t.Run(fmt.Sprintf("%s, index=%t", tt.name, index), func(t *testing.T) {
				p := testserver.NewProxy(t, testserver.SharedRedis(t))
				c := impatient(p.Addr)
				c.Index = index
				b := open(t, c)
				h := remotetest.StartHammer(t, b)
				for range 8 {
					h.Await(20)
					tt.disturb(p)
				}
				h.Await(20)
				h.Stop(tt.unknown)
				p.Set(testserver.Mode{})
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A server that syncs each write has every commit that it acknowledged after kill -9, and of the
// others none in part.
func TestTheServerIsKilledAmidCommits(t *testing.T) {
	r := testserver.NewRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	c := closed(r.Addr)
	c.Index = true
	b := open(t, c)
	h := remotetest.StartHammer(t, b)
	for range 8 {
		h.Await(30)
		r.Kill()
		r.Start()
	}
	h.Await(10)
	h.Stop(true)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A server that keeps nothing begins empty after a restart: that is refused, not taken for a new task.
func TestAServerThatForgotIsRefused(t *testing.T) {
	r := testserver.NewRedis(t)
	b := open(t, closed(r.Addr))
	s, _ := mustOpen(t, b)
	mustCommit(t, s, 1)
	r.Kill()
	r.Start()
	for range 3 { // the first may find the connection broken
		if err := commit(s, 2); err == nil {
			t.Error("a commit was taken")
		}
	}
	if _, _, err := b.Open(ctx, task); !errors.Is(err, redis.ErrLost) {
		t.Errorf("open says %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheSourcePausesWhileTheServerIsAway(t *testing.T) {
	for name, outage := range remotetest.Outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testserver.NewProxy(t, testserver.SharedRedis(t))
			c := impatient(p.Addr)
			c.BreakerFailures, c.BreakerFor = 3, 200*time.Millisecond
			b := open(t, c)
			defer b.Close()
			remotetest.Pauses(t, b, p, outage, remote.ErrAway.Error())
		})
	}
}
