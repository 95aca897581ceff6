package statefultest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful"
)

// leaseTTL is that of the suite's leases: long enough for a busy server, and short enough
// to wait for.
const leaseTTL = 2 * time.Second

// TestLeases runs every promise in the docs of [stateful.Leaser] and
// [stateful.Lease] against the empty backends that open returns. It closes them.
// pass lets time pass on the clock that the backend goes by; it is nil for a backend that goes by
// the time it is given.
func TestLeases(t *testing.T, open func(*testing.T) stateful.Leaser, pass func(time.Duration)) {
	for _, c := range leaseChecks {
		t.Run(c.promise, func(t *testing.T) {
			if pass != nil {
				t.Parallel() // most of the time is spent waiting
			}
			b := open(t)
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Errorf("close the backend: %v", err)
				}
			})
			c.check(&leases{T: t, b: b, pass: pass, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
		})
	}
}

var leaseChecks = []struct {
	promise string
	check   func(*leases)
}{
	{"what is held is refused, also to the same process", checkLeaseHeld},
	{"leases of two tasks are apart", checkLeasesApart},
	{"what was released is free at once", checkLeaseReleased},
	{"what was not renewed is free when its time has passed", checkLeaseExpired},
	{"what is renewed holds", checkLeaseRenewed},
	{"what ended cannot be renewed", checkLeaseLost},
	{"to release what ended takes nothing from who has it now", checkLeaseReleasedLate},
	{"opening under a lease takes ownership", checkLeaseOpens},
	{"who holds an old lease cannot fence who holds the new one", checkLeaseFences},
	{"of many that ask at once one gets it", checkLeaseRace},
	{"a context that ended ends a call", checkLeaseContext},
	{"a closed backend says ErrClosed", checkLeaseClosed},
}

// leases is one check at work.
type leases struct {
	*testing.T
	b    stateful.Leaser
	pass func(time.Duration)
	now  time.Time
}

func (r *leases) wait(d time.Duration) {
	r.now = r.now.Add(d)
	if r.pass != nil {
		r.pass(d)
	}
}

func (r *leases) ask(task stateful.TaskID) (stateful.Lease, error) {
	return r.b.Lease(ctx, task, r.now, leaseTTL)
}

func (r *leases) take() stateful.Lease {
	r.Helper()
	l, err := r.ask(clicks)
	if err != nil {
		r.Fatalf("take the lease: %v", err)
	}
	return l
}

func (r *leases) held() {
	r.Helper()
	_, err := r.ask(clicks)
	wantErr(r.T, "a second one", err, stateful.ErrLeaseHeld)
}

func (r *leases) renew(l stateful.Lease) {
	r.Helper()
	if err := l.Renew(ctx, r.now); err != nil {
		r.Fatalf("renew: %v", err)
	}
}

func (r *leases) release(l stateful.Lease) {
	r.Helper()
	if err := l.Release(ctx); err != nil {
		r.Fatalf("release: %v", err)
	}
}

func (r *leases) lost(when string, l stateful.Lease) {
	r.Helper()
	wantErr(r.T, "renew "+when, l.Renew(ctx, r.now), stateful.ErrLeaseLost)
}

func (r *leases) after(first, second stateful.Lease) {
	r.Helper()
	if first.Token() >= second.Token() {
		r.Errorf("token %d follows %d", second.Token(), first.Token())
	}
}

func checkLeaseHeld(r *leases) {
	r.take()
	r.held()
	r.wait(leaseTTL / 2)
	r.held()
}

func checkLeasesApart(r *leases) {
	r.take()
	for _, id := range []stateful.TaskID{
		{App: clicks.App, Handler: clicks.Handler, Partition: clicks.Partition + 1},
		{App: clicks.App, Handler: clicks.Handler + "s", Partition: clicks.Partition},
		{App: clicks.App + "s", Handler: clicks.Handler, Partition: clicks.Partition},
	} {
		if _, err := r.ask(id); err != nil {
			r.Errorf("%s: %v", id, err)
		}
	}
}

func checkLeaseReleased(r *leases) {
	first := r.take()
	r.release(first)
	second := r.take()
	r.after(first, second)
	r.held()
	r.renew(second)
}

func checkLeaseExpired(r *leases) {
	first := r.take()
	r.wait(leaseTTL)
	second := r.take()
	r.after(first, second)
	r.held()
}

func checkLeaseRenewed(r *leases) {
	l := r.take()
	for range 3 {
		r.wait(leaseTTL / 2)
		r.renew(l)
	}
	r.held()
	r.wait(leaseTTL)
	r.after(l, r.take())
}

func checkLeaseLost(r *leases) {
	first := r.take()
	r.release(first)
	r.lost("after Release", first)
	second := r.take()
	r.lost("when another has it", first)
	r.wait(leaseTTL)
	r.lost("after its time", second)
	third := r.take()
	r.lost("after its time, when another has it", second)
	r.renew(third)
}

func checkLeaseReleasedLate(r *leases) {
	old := r.take()
	r.wait(leaseTTL)
	r.release(old)
	l := r.take()
	r.release(old)
	r.release(old)
	r.held()
	r.renew(l)
}

func checkLeaseOpens(r *leases) {
	before, _ := openTask(r.T, r.b, clicks)
	commit(r.T, before, 1, put("a", "1"))
	l := r.take()
	s, head, err := l.Open(ctx)
	if err != nil {
		r.Fatal(err)
	}
	if head.Epoch != 2 || head.Seq != 1 {
		r.Errorf("the head is %+v, want epoch 2 and sequence 1", head)
	}
	wantErr(r.T, "submit of the owner before", submit(before, 2).Wait(ctx), stateful.ErrFenced)
	commit(r.T, s, 2, put("a", "2"))
	if s, head, err = l.Open(ctx); err != nil || head.Epoch != 3 {
		r.Fatalf("opened again under one lease: %+v, %v", head, err)
	}
	wantGet(r.T, s, "a", "2")
}

func checkLeaseFences(r *leases) {
	old := r.take()
	r.wait(leaseTTL)
	l := r.take()
	_, _, err := old.Open(ctx)
	wantErr(r.T, "open under the old lease, before the new one", err, stateful.ErrFenced)
	s, head, err := l.Open(ctx)
	if err != nil {
		r.Fatal(err)
	}
	_, _, err = old.Open(ctx)
	wantErr(r.T, "open under the old lease", err, stateful.ErrFenced)
	commit(r.T, s, 1, put("a", "1"))
	if head.Epoch != 1 {
		r.Errorf("the epoch is %d: the old one raised it", head.Epoch)
	}
}

func checkLeaseRace(r *leases) {
	const askers = 16
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range askers {
		wg.Go(func() {
			_, err := r.ask(clicks)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got++
			} else if !errors.Is(err, stateful.ErrLeaseHeld) {
				r.Errorf("one is told %v", err)
			}
		})
	}
	wg.Wait()
	if got != 1 {
		r.Errorf("%d of %d have it", got, askers)
	}
}

func checkLeaseContext(r *leases) {
	l := r.take()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.b.Lease(ended, stateful.TaskID{App: "app", Handler: "other"}, r.now, leaseTTL)
	wantErr(r.T, "lease", err, context.Canceled)
	wantErr(r.T, "renew", l.Renew(ended, r.now), context.Canceled)
	_, _, err = l.Open(ended)
	wantErr(r.T, "open", err, context.Canceled)
}

func checkLeaseClosed(r *leases) {
	l := r.take()
	if err := r.b.Close(); err != nil {
		r.Fatal(err)
	}
	_, err := r.ask(clicks)
	wantErr(r.T, "lease", err, stateful.ErrClosed)
	wantErr(r.T, "renew", l.Renew(ctx, r.now), stateful.ErrClosed)
	_, _, err = l.Open(ctx)
	wantErr(r.T, "open", err, stateful.ErrClosed)
}
