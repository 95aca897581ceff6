// Package redis keeps state in Redis 6.2 or newer: a single server, one behind Sentinels, or a
// Cluster. A commit survives the loss of this machine, and of the server what its
// persistence and replicas keep; docs/backends.md says how to set it up.
//
// A task is one hash, whose fields are the keys of its entries and one for its head. A commit is
// one script, which changes all or nothing and only if the head is the one that its owner left.
package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// Backend is a [stateful.Backend] on Redis. It may be used by several goroutines.
type Backend struct {
	c      Config
	client goredis.UniversalClient
	guard  *remote.Guard
	// ctx is that of what is sent without a caller's: it ends when the backend has closed.
	ctx    context.Context
	cancel context.CancelFunc

	calls remote.Calls

	warnOnce sync.Once
}

var (
	_ stateful.Leaser        = (*Backend)(nil)
	_ stateful.CommitLimiter = (*Backend)(nil)
)

// New connects to the server and checks that it keeps what it is given: it refuses a server
// that evicts keys when its memory is full.
func New(ctx context.Context, c Config) (*Backend, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	b := &Backend{c: c, client: c.Client}
	b.guard = remote.NewGuard(remote.GuardConfig{
		Name: "redis", Retries: c.Retries, Base: c.RetryBase, Max: c.RetryMax, BreakerFailures: c.BreakerFailures, BreakerFor: c.BreakerFor,
		IsAway: isAway, IsCrowded: isCrowded, Logger: c.Logger,
	})
	if b.client == nil {
		o, err := c.options()
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		b.client = goredis.NewUniversalClient(o)
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := b.checkServer(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("redis: %w", err), b.Close())
	}
	return b, nil
}

// Domain returns [stateful.DomainServer].
func (b *Backend) Domain() stateful.Domain { return stateful.DomainServer }

// CommitRows implements [stateful.CommitLimiter]: while it makes a commit the server does nothing else, for
// 2,000 rows about two milliseconds.
func (b *Backend) CommitRows() int { return 2000 }

// Ping returns nil when the server answers.
func (b *Backend) Ping(ctx context.Context) error {
	if err := b.calls.Enter(); err != nil {
		return fmt.Errorf("redis: ping: %w", err)
	}
	defer b.calls.Leave()
	if err := b.guard.Once(func() error { return b.client.Ping(ctx).Err() }); err != nil {
		return fmt.Errorf("redis: ping: %w", err)
	}
	return nil
}

// Close waits for the commits under way, closes every store, and closes the client unless it
// was given. A second Close returns nil.
func (b *Backend) Close() error {
	first := b.calls.Close()
	b.cancel()
	if !first || b.c.Client != nil {
		return nil
	}
	if err := b.client.Close(); err != nil {
		return fmt.Errorf("redis: close the client: %w", err)
	}
	return nil
}
