package verify_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/internal/verify"
)

// server is one that has the state, and that is killed, too.
type server struct {
	url         string
	kill, start func()
	kills       int
}

// read reads what a life left behind.
func read(t *testing.T, l verify.Life) (*verify.Data, error) {
	t.Helper()
	if l.State == "" {
		return verify.Read(l.StateDir(), l.LogDir())
	}
	return verify.ReadServer(t.Context(), l.State, l.Space, l.LogDir())
}

// mayFail kills the server, in one of two lives, and starts it again. The function that it returns waits until it runs, and
// says whether it was killed.
func (s *server) mayFail(rng *rand.Rand) func() bool {
	if s == nil || rng.IntN(2) == 0 {
		return func() bool { return false }
	}
	ctx, cancel := context.WithCancel(context.Background())
	after, down := time.Duration(50+rng.IntN(400))*time.Millisecond, time.Duration(rng.IntN(300))*time.Millisecond
	killed := make(chan bool, 1)
	go func() {
		if clock.Sleep(ctx, after) != nil {
			killed <- false
			return
		}
		s.kill()
		s.kills++
		_ = clock.Sleep(ctx, down)
		s.start()
		killed <- true
	}()
	return func() bool { cancel(); return <-killed }
}

// The exactly-once path with the state on a server: the process is killed at any moment, and the server, too.
func TestKilledAtAnyMomentOnServers(t *testing.T) {
	length := 10 * time.Second
	if testing.Short() {
		length = 3 * time.Second
	}
	for name, start := range map[string]func(t *testing.T) *server{
		"redis": func(t *testing.T) *server {
			r := testserver.NewRedis(t, "--appendonly", "yes", "--appendfsync", "always")
			return &server{url: "redis://" + r.Addr, kill: r.Kill, start: r.Start}
		},
		"postgres": func(t *testing.T) *server {
			p := testserver.NewPostgres(t)
			return &server{url: p.DSN, kill: p.Kill, start: p.Start}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			ctx, cancel := context.WithTimeout(t.Context(), length)
			defer cancel()
			seed := rand.Uint64() >> 32
			var kills, looks, rounds int
			for ; rounds < 2 || ctx.Err() == nil; rounds++ {
				r := &round{t: t, seed: seed + uint64(rounds), time: ctx, server: s}
				r.run(t)
				kills, looks = kills+r.kills, looks+r.looks
			}
			t.Logf("%d rounds, %d kills of the process and %d of the server, %d states verified", rounds, kills, s.kills, looks)
		})
	}
}
