package redis

import (
	"context"
	_ "embed"

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
	for _, whole := range []bool{false, true} {
		command, argument := s.call(whole)
		all := make([]any, 0, 3+len(keys)+len(args))
		all = append(all, command, argument, len(keys))
		for _, k := range keys {
			all = append(all, k)
		}
		cmd := once{goredis.NewCmd(ctx, append(all, args...)...)}
		_ = c.Process(ctx, cmd) // cmd has the error
		v, err := cmd.Result()
		if !goredis.HasErrorPrefix(err, "NOSCRIPT") {
			return v, err
		}
	}
	return nil, goredis.ErrNoScript
}
