package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// lease is a [stateful.Lease]. The server's clock decides when it ends.
type lease struct {
	b      *Backend
	id     stateful.TaskID
	name   []param
	holder int64 // random: it tells this lease from all others
	token  int64
	ttl    time.Duration
}

// Lease takes the lease of a task; see [stateful.Leaser].
func (b *Backend) Lease(ctx context.Context, id stateful.TaskID, _ time.Time, ttl time.Duration) (stateful.Lease, error) {
	name, err := taskParams(id)
	l := &lease{b: b, id: id, name: name, holder: int64(remote.NewOwner()), ttl: ttl}
	if err == nil {
		l.token, err = l.call(ctx, b.sql.leaseTake, int8Param(ttl.Milliseconds()))
	}
	if err == nil && l.token == 0 {
		err = stateful.ErrLeaseHeld
	}
	if err != nil {
		return nil, b.wrap("lease", id, err)
	}
	return l, nil
}

// call runs a statement of leases, each of which may be repeated. It returns the lease's token, 0 when the
// statement changed nothing.
func (l *lease) call(ctx context.Context, sql string, more ...param) (token int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := l.b.calls.Enter(); err != nil {
		return 0, err
	}
	defer l.b.calls.Leave()
	params := append(append(l.name[:len(l.name):len(l.name)], int8Param(l.holder)), more...)
	err = l.b.again(ctx, call{sql: sql, params: params, row: func(f *fields) error {
		token = f.int8()
		return nil
	}})
	return token, err
}

// Token implements [stateful.Lease].
func (l *lease) Token() uint64 { return uint64(l.token) }

// Open implements [stateful.Lease].
func (l *lease) Open(ctx context.Context) (stateful.Store, stateful.Head, error) {
	s, err := l.b.open(ctx, l.id, l.token)
	if err != nil {
		return nil, stateful.Head{}, l.b.wrap(fmt.Sprintf("open, under lease %d,", l.token), l.id, err)
	}
	return s, s.sent.Head, nil
}

// Renew implements [stateful.Lease].
func (l *lease) Renew(ctx context.Context, _ time.Time) error {
	token, err := l.call(ctx, l.b.sql.leaseRenew, int8Param(l.ttl.Milliseconds()))
	if err == nil && token == 0 {
		err = stateful.ErrLeaseLost
	}
	if err != nil {
		return l.b.wrap(fmt.Sprintf("renew lease %d of", l.token), l.id, err)
	}
	return nil
}

// Release implements [stateful.Lease].
func (l *lease) Release(ctx context.Context) error {
	if _, err := l.call(ctx, l.b.sql.release); err != nil {
		return l.b.wrap(fmt.Sprintf("release lease %d of", l.token), l.id, err)
	}
	return nil
}
