package redis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The scripts are files, and what they work on comes as KEYS and ARGV: none is ever built
// from data.
var (
	//go:embed lua/commit.lua
	commitLua string
	//go:embed lua/open.lua
	openLua string
	//go:embed lua/scan.lua
	scanLua string
	//go:embed lua/index.lua
	indexLua string
	//go:embed lua/lease_take.lua
	leaseTakeLua string
	//go:embed lua/lease_renew.lua
	leaseRenewLua string
	//go:embed lua/kv_add.lua
	kvAddLua string
	//go:embed lua/kv_list.lua
	kvListLua string
	//go:embed lua/kv_swap.lua
	kvSwapLua string
)

var (
	commitScript     = newScript(commitLua)
	openScript       = newScript(openLua)
	scanScript       = newScript(scanLua)
	indexScript      = newScript(indexLua)
	leaseTakeScript  = newScript(leaseTakeLua)
	leaseRenewScript = newScript(leaseRenewLua)
	kvAddScript      = newScript(kvAddLua)
	kvListScript     = newScript(kvListLua)
	kvSwapScript     = newScript(kvSwapLua)
)

type script struct{ source, sha string }

func newScript(source string) *script { return &script{source, goredis.NewScript(source).Hash()} }

// call returns the command and its argument that run s: by its digest, or whole when the server does not
// know it yet.
func (s *script) call(whole bool) (command, argument any) {
	if whole {
		return "eval", s.source
	}
	return "evalsha", s.sha
}

// once is a command that go-redis never sends a second time by itself: the first may have
// been carried out.
type once struct{ *goredis.Cmd }

// NoRetry implements [goredis.Cmder].
func (once) NoRetry() bool { return true }

// run runs a script once.
func (s *script) run(ctx context.Context, c goredis.UniversalClient, keys []string, args ...any) (any, error) {
	v, _, err := s.runAndWait(ctx, c, replicas{}, keys, args...)
	return v, err
}

// runAndWait runs a script once and then waits until replicas have what it wrote. It returns how many have.
func (s *script) runAndWait(ctx context.Context, c goredis.UniversalClient, wait replicas, keys []string, args ...any) (any, int64, error) {
	for _, whole := range []bool{false, true} {
		command, argument := s.call(whole)
		all := make([]any, 0, 3+len(keys)+len(args))
		all = append(all, command, argument, len(keys))
		for _, k := range keys {
			all = append(all, k)
		}
		cmd := once{goredis.NewCmd(ctx, append(all, args...)...)}
		pipe := c.Pipeline()
		_ = pipe.Process(ctx, cmd) // errors come with Exec
		have := wait.add(ctx, pipe)
		_, _ = pipe.Exec(ctx) // each command has its own
		v, err := cmd.Result()
		switch {
		case goredis.HasErrorPrefix(err, "NOSCRIPT"):
			continue
		case err == nil && have != nil:
			return v, have.Val(), have.Err()
		}
		return v, 0, err
	}
	return nil, 0, goredis.ErrNoScript
}

// replicas is how many replicas must have a write, and how soon.
type replicas struct {
	n      int
	within time.Duration
}

// replicas is half of what a call may take: the answer must still come in time.
func (c Config) replicas() replicas { return replicas{c.Replicas, c.ReadTimeout / 2} }

// add adds to a pipeline the wait for the replicas, if there is any. It must be on the connection of the writes.
func (r replicas) add(ctx context.Context, pipe goredis.Pipeliner) *goredis.IntCmd {
	if r.n == 0 {
		return nil
	}
	cmd := goredis.NewIntCmd(ctx, "wait", r.n, r.within.Milliseconds())
	_ = pipe.Process(ctx, cmd) // an error comes with Exec
	return cmd
}

func (r replicas) check(have int64) error {
	if have < int64(r.n) {
		return fmt.Errorf("%d of %d replicas have it after %v", have, r.n, r.within)
	}
	return nil
}
