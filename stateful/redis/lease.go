package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/pondage/pondage/internal/remote"
	"github.com/pondage/pondage/stateful"
)

// lease is a [stateful.Lease]. The server's clock decides when it ends.
type lease struct {
	b      *Backend
	id     stateful.TaskID
	keys   keys
	holder string // random: it tells this lease from all others
	token  uint64
	ttl    time.Duration
}

// Lease takes the lease of a task; see [stateful.Leaser].
func (b *Backend) Lease(ctx context.Context, id stateful.TaskID, _ time.Time, ttl time.Duration) (stateful.Lease, error) {
	l := &lease{b: b, id: id, holder: strconv.FormatUint(remote.NewOwner(), 16), ttl: ttl}
	if err := l.take(ctx); err != nil {
		return nil, fmt.Errorf("redis: lease of task %s: %w", id, err)
	}
	return l, nil
}

func (l *lease) take(ctx context.Context) (err error) {
	if l.keys, err = l.b.keysOf(l.id); err != nil {
		return err
	}
	answer, err := l.call(ctx, leaseTakeScript, l.ttl)
	if err != nil {
		return err
	}
	got, ok := answer.([]any)
	if !ok || len(got) != 2 {
		return fmt.Errorf("the script answered %T", answer)
	}
	if l.token, err = strconv.ParseUint(fmt.Sprint(got[1]), 10, 64); err != nil {
		return fmt.Errorf("its token: %w", err)
	}
	if got[0] != int64(1) {
		return fmt.Errorf("token %d: %w", l.token, stateful.ErrLeaseHeld)
	}
	return nil
}

// call runs a script of leases, each of which may be repeated.
func (l *lease) call(ctx context.Context, s *script, ttl time.Duration) (answer any, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.b.calls.Enter(); err != nil {
		return nil, err
	}
	defer l.b.calls.Leave()
	err = l.b.guard.Again(ctx, func() (err error) {
		answer, err = s.run(ctx, l.b.client, []string{l.keys.lease}, l.holder, ttl.Milliseconds())
		return err
	})
	return answer, err
}

// Token implements [stateful.Lease].
func (l *lease) Token() uint64 { return l.token }

// Open implements [stateful.Lease].
func (l *lease) Open(ctx context.Context) (stateful.Store, stateful.Head, error) {
	s, err := l.b.open(ctx, l.id, l.holder)
	if err != nil {
		return nil, stateful.Head{}, fmt.Errorf("redis: open task %s under lease %d: %w", l.id, l.token, err)
	}
	return s, s.sent.Head, nil
}

// Renew implements [stateful.Lease].
func (l *lease) Renew(ctx context.Context, _ time.Time) error {
	answer, err := l.call(ctx, leaseRenewScript, l.ttl)
	if err == nil && answer != int64(1) {
		err = stateful.ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("redis: renew lease %d of task %s: %w", l.token, l.id, err)
	}
	return nil
}

// Release implements [stateful.Lease].
func (l *lease) Release(ctx context.Context) error {
	if _, err := l.call(ctx, leaseRenewScript, 0); err != nil {
		return fmt.Errorf("redis: release lease %d of task %s: %w", l.token, l.id, err)
	}
	return nil
}
