package stateful

import (
	"context"
	"errors"
	"time"
)

// ErrLeaseHeld is returned by [Leaser.Lease] while another holds the lease.
var ErrLeaseHeld = errors.New("stateful: another holds the lease")

// ErrLeaseLost is returned by [Lease.Renew] when the lease ended: its time passed, it was
// released, or another has it now. It can only be taken anew.
var ErrLeaseLost = errors.New("stateful: the lease was lost")

// ErrStandby is what [Processor.Ready] returns an error of when nothing failed and some
// handlers wait for the lease that another process has. Such a process is as
// ready as it can be: it takes over when the other ends.
var ErrStandby = errors.New("stands by: another process has the lease")

// Leaser is a [Backend] that gives out leases of tasks. A processor takes the
// lease of a handler whose source has no partitions before it subscribes, so that of several
// processes one works and the others stand by (O2). A lease only avoids that owners
// disturb each other; what keeps the state right is the epoch.
type Leaser interface {
	Backend

	// Lease takes the lease of a task, for ttl from now on, when nobody holds it, and
	// returns an error that wraps [ErrLeaseHeld] when somebody does, be it the same
	// process. Of several that ask at once one gets it.
	//
	// now is the caller's time. A backend in the process goes by it; one on a server goes by
	// the server's clock and does not look at it.
	Lease(ctx context.Context, task TaskID, now time.Time, ttl time.Duration) (Lease, error)
}

// Lease is the right to own one task for a time. It may be used by several
// goroutines. Nothing renews it by itself.
type Lease interface {
	// Token is the fencing token: higher than that of every lease of the task that
	// was given out before and whose holder may still live.
	Token() uint64

	// Open is [Backend.Open] of the lease's task, under its token: once a later
	// lease was given out it returns an error that wraps [ErrFenced] and leaves the
	// epoch as it is. So a holder that slept through the end of its lease does
	// not fence the one who has it now. The check and the new epoch are one
	// atomic step.
	Open(ctx context.Context) (Store, Head, error)

	// Renew makes the lease hold for its ttl from now on. It returns an error that wraps
	// [ErrLeaseLost] when the lease ended, whether or not another has it; any other error
	// leaves open whether it was renewed.
	Renew(ctx context.Context, now time.Time) error

	// Release ends the lease, so that the next who asks gets it. It returns nil, and
	// takes nothing from anybody, when the lease had already ended.
	Release(ctx context.Context) error
}
