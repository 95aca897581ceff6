package stateful

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// KVLease is a lock with a time limit: whoever holds it is alone, as far as clocks go. What must never be
// done by two at once, however long a holder was suspended, compares [KVLease.Token] where it is done: the
// receiver refuses a token lower than one it has seen.
//
// A KVLease may be used by several goroutines. Nothing renews it by itself.
type KVLease struct {
	kv    KV
	key   string
	owner []byte
	token uint64
	ttl   time.Duration
}

// Keys of a lease, behind its name.
const (
	leaseHolder = "/holder"
	leaseTokens = "/tokens"
)

// AcquireLease takes the lease name in kv for ttl. When another has it, it returns an error that wraps
// [ErrLeaseHeld] at once; whoever wants to wait tries again. kv is that of a backend that all who compete share.
func AcquireLease(ctx context.Context, kv KV, name string, ttl time.Duration) (*KVLease, error) {
	l := &KVLease{kv: kv, key: name + leaseHolder, owner: newOwner(), ttl: ttl}
	if ttl < time.Millisecond {
		return nil, fmt.Errorf("lease %q: a time to live of %v is below a millisecond", name, ttl)
	}
	within, cancel := context.WithTimeout(ctx, ttl)
	defer cancel()
	got, err := kv.SetIfNotExists(within, KVEntry{Key: l.key, Value: l.owner, TTL: ttl})
	switch {
	case err != nil:
		return nil, l.giveUp(ctx, fmt.Errorf("lease %q: %w", name, err))
	case !got:
		return nil, fmt.Errorf("lease %q: %w", name, ErrLeaseHeld)
	}
	// Tokens are drawn by holders only, and rise with every draw. The one drawn here is of this lease
	// when it comes back before the lease, which began no earlier than this call, can have ended.
	n, err := kv.Increment(within, name+leaseTokens, 1, NoTTL)
	if err == nil {
		err = within.Err()
	}
	if err != nil {
		return nil, l.giveUp(ctx, fmt.Errorf("lease %q: draw its token: %w", name, err))
	}
	l.token = uint64(n)
	return l, nil
}

// giveUp ends what may have been taken, so that nobody waits for its end, and returns err.
func (l *KVLease) giveUp(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ttl)
	defer cancel()
	l.Release(ctx) //nolint:errcheck // it ends by itself
	return err
}

func newOwner() []byte {
	var b [16]byte
	rand.Read(b[:])
	return hex.AppendEncode(nil, b[:])
}

// Token is the fencing token: higher than that of every lease of this name before.
func (l *KVLease) Token() uint64 { return l.token }

// Renew makes the lease hold for its ttl from now on. It returns an error that wraps [ErrLeaseLost] when it
// ended, whether or not another has it; any other error leaves open whether it was renewed.
func (l *KVLease) Renew(ctx context.Context) error {
	ok, err := l.kv.CompareAndSwap(ctx, l.owner, KVEntry{Key: l.key, Value: l.owner, TTL: l.ttl})
	switch {
	case err != nil:
		return fmt.Errorf("renew lease %q: %w", l.name(), err)
	case !ok:
		return fmt.Errorf("renew lease %q: %w", l.name(), ErrLeaseLost)
	}
	return nil
}

// Release ends the lease, so that the next who asks gets it. It returns nil, and takes nothing from anybody,
// when it had already ended.
func (l *KVLease) Release(ctx context.Context) error {
	if _, err := l.kv.CompareAndSwap(ctx, l.owner, KVEntry{Key: l.key}); err != nil {
		return fmt.Errorf("release lease %q: %w", l.name(), err)
	}
	return nil
}

func (l *KVLease) name() string { return l.key[:len(l.key)-len(leaseHolder)] }
