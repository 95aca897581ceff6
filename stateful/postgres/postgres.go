// Package postgres keeps state in PostgreSQL 13 or newer. A commit survives the loss of this machine, and of
// the server what its settings promise; docs/backends.md says how to set it up.
//
// An entry of a task is a row; a commit is one statement, which checks the row that says who owns
// the task and writes all or nothing. No transaction is ever open while the server waits for us, no statement has
// a name and no session has a state, so that a pooler may stand in between.
package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// ErrLost is what an error wraps when the server no longer has what it had acknowledged: rows were
// removed, or a failover or restart went back to an older copy. The task stays closed, for to go on would
// repeat and lose effects unnoticed.
var ErrLost = remote.ErrLost

// schemaVersion is that of the tables.
const schemaVersion = 1

// Backend is a [stateful.Backend] on PostgreSQL. It may be used by several goroutines.
type Backend struct {
	c     Config
	pool  *pgxpool.Pool
	sql   *statements
	guard *remote.Guard
	// ctx is that of what is sent without a caller's: it ends when the backend has closed.
	ctx    context.Context
	cancel context.CancelFunc

	calls remote.Calls
}

var (
	_ stateful.Leaser     = (*Backend)(nil)
	_ stateful.KeyLimiter = (*Backend)(nil)
)

// New connects to the server, makes the schema when it is not there, and refuses one of a newer version.
func New(ctx context.Context, c Config) (*Backend, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	b := &Backend{c: c, pool: c.Pool, sql: newStatements(c.Schema)}
	b.guard = remote.NewGuard(remote.GuardConfig{
		Name: "postgres", Retries: c.Retries, Base: c.RetryBase, Max: c.RetryMax, BreakerFailures: c.BreakerFailures, BreakerFor: c.BreakerFor,
		IsAway: isAway, IsCrowded: isCrowded, Logger: c.Logger,
	})
	if b.pool == nil {
		p, err := c.parse()
		if err != nil {
			return nil, fmt.Errorf("postgres: %w", err)
		}
		if b.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), p); err != nil {
			return nil, fmt.Errorf("postgres: %w", err)
		}
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if err := errors.Join(b.checkServer(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: %w", err), b.Close())
	}
	if err := b.checkSchema(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: schema %s: %w", c.Schema, err), b.Close())
	}
	return b, nil
}

// Domain returns [stateful.DomainServer].
func (b *Backend) Domain() stateful.Domain { return stateful.DomainServer }

// maxKeyBytes is the longest key of an entry: one must fit on a third of an index's page.
const maxKeyBytes = 2600

// KeyBytes implements [stateful.KeyLimiter]. An index of PostgreSQL has keys up to about 2,700 bytes, and those
// of entries have two of a handler's at most.
func (b *Backend) KeyBytes() int { return 1200 }

// Ping returns nil when the server answers.
func (b *Backend) Ping(ctx context.Context) error {
	if err := b.calls.Enter(); err != nil {
		return fmt.Errorf("postgres: ping: %w", err)
	}
	defer b.calls.Leave()
	if err := b.once(ctx, call{sql: b.sql.server}); err != nil {
		return fmt.Errorf("postgres: ping: %w", err)
	}
	return nil
}

// Close waits for the commits under way, closes every store, and closes the pool unless it
// was given. A second Close returns nil.
func (b *Backend) Close() error {
	first := b.calls.Close()
	b.cancel()
	if first && b.c.Pool == nil {
		b.pool.Close()
	}
	return nil
}
