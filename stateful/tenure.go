package stateful

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
)

// tenure sees to it that of several processes one serves a handler whose source has no
// partitions (O2). It takes the lease of the handler's task and renews it; while it
// has it there is a term, in which the intakes subscribe. Between terms the process stands by.
type tenure struct {
	p      *Processor
	reg    *registration
	leaser Leaser
	id     TaskID
	first  sync.Once

	mu      sync.Mutex
	term    *term         // nil: it stands by
	changed chan struct{} // closed when a term begins
}

// term is the time from getting a lease to losing it.
type term struct {
	lease  Lease
	ctx    context.Context // ends with the term
	cancel context.CancelFunc
	fenced chan fencing
	inside int           // intakes that use it; guarded by the tenure
	empty  chan struct{} // closed when the term has ended and none does
}

// fencing is what a task met that was opened under a lease.
type fencing struct {
	t   *Task
	err error
}

// holding is a lease and how long it surely holds.
type holding struct {
	lease  Lease
	valid  context.Context // also ends when the processor is drained
	cancel context.CancelFunc
}

var errLeaseEnded = fmt.Errorf("%w: the lease of its task ended", ErrClosed)

func newTenure(p *Processor, reg *registration, leaser Leaser) *tenure {
	return &tenure{
		p: p, reg: reg, leaser: leaser, id: TaskID{App: p.cfg.App, Handler: reg.name},
		changed: make(chan struct{}),
	}
}

// start asks for the lease once, so that a process that gets it is subscribed when the router
// says that it runs, and leaves the rest to a goroutine. It returns within Config.RenewEvery.
func (u *tenure) start(ctx context.Context) {
	u.first.Do(func() {
		u.p.mu.Lock()
		if isClosed(u.p.draining) {
			u.p.mu.Unlock()
			return
		}
		u.p.tenures.Add(1)
		u.p.mu.Unlock()
		asking, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(u.p.taking, cancel)()
		defer cancel()
		h, err := u.ask(asking)
		u.standby(err)
		var tm *term
		if err == nil {
			tm = u.begin(h)
		}
		go u.run(tm, h)
	})
}

func (u *tenure) run(tm *term, h holding) {
	defer u.p.tenures.Done()
	for {
		if tm == nil {
			var ok bool
			if h, ok = u.acquire(); !ok {
				return
			}
			tm = u.begin(h)
		}
		f := u.keep(tm, &h)
		drained := isClosed(u.p.drained)
		u.end(tm, drained)
		tm = nil
		switch {
		case drained:
			u.release(h)
			return
		case f.t != nil && u.mine(&h):
			// Somebody opened the task without asking for the lease: to open it again
			// would be answered in the same way.
			u.p.standby(u.reg, fmt.Errorf("task %s was opened by somebody who does not hold its lease: find out who, then start again: %w", u.id, f.err))
			u.reg.shutOut(f.t, f.err)
			u.release(h)
			return
		}
		h.cancel()
	}
}

// ask takes the lease, if it is free.
func (u *tenure) ask(ctx context.Context) (h holding, err error) {
	err = u.request(ctx, &h, func(ctx context.Context) error {
		h.lease, err = u.leaser.Lease(ctx, u.id, u.p.cfg.Now(), u.p.cfg.LeaseFor)
		return err
	})
	return h, err
}

func (u *tenure) renew(h *holding) error {
	return u.request(h.valid, h, func(ctx context.Context) error { return h.lease.Renew(ctx, u.p.cfg.Now()) })
}

// request calls f and, when it succeeds, makes h valid from before the call on. The time of
// the lease is counted at the server from the call's arrival; a tenth of it is kept for clocks that
// do not go alike.
func (u *tenure) request(ctx context.Context, h *holding, f func(context.Context) error) error {
	valid, cancel := context.WithTimeout(u.p.working, u.p.cfg.LeaseFor-u.p.cfg.LeaseFor/10)
	ctx, done := context.WithTimeout(ctx, u.p.cfg.RenewEvery)
	defer done()
	if err := f(ctx); err != nil {
		cancel()
		return err
	}
	if h.cancel != nil {
		h.cancel()
	}
	h.valid, h.cancel = valid, cancel
	return nil
}

// acquire asks until it has the lease. It returns false when the intake is to end.
func (u *tenure) acquire() (holding, bool) {
	for {
		if sleepUntil(u.p.taking, u.p.cfg.RenewEvery, nil, nil) != nil {
			return holding{}, false
		}
		h, err := u.ask(u.p.taking)
		if err == nil {
			u.standby(nil)
			return h, true
		}
		u.standby(err)
	}
}

// standby says why there is no lease, nil when there is.
func (u *tenure) standby(err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrLeaseHeld):
		err = ErrStandby
	default:
		err = fmt.Errorf("cannot get the lease of task %s: %w", u.id, err)
	}
	u.p.standby(u.reg, err)
}

func (u *tenure) begin(h holding) *term {
	tm := &term{lease: h.lease, fenced: make(chan fencing, 1), empty: make(chan struct{})}
	tm.ctx, tm.cancel = context.WithCancel(u.p.working)
	u.mu.Lock()
	u.term = tm
	close(u.changed)
	u.changed = make(chan struct{})
	u.mu.Unlock()
	u.p.cfg.Logger.Info("task is served under a lease", "task", u.id.String(), "token", h.lease.Token())
	return tm
}

// keep renews the lease until it is lost, the task is fenced, or the processor is drained.
func (u *tenure) keep(tm *term, h *holding) fencing {
	var err error // of the last try
	pause := u.p.cfg.RenewEvery
	for {
		wait, cancel := context.WithTimeout(h.valid, pause)
		var f fencing
		select {
		case <-wait.Done():
		case f = <-tm.fenced:
		}
		cancel()
		if f.t != nil || isClosed(u.p.drained) {
			return f
		}
		if h.valid.Err() == nil {
			err = u.renew(h)
		}
		switch pause = u.p.cfg.RenewEvery; {
		case h.valid.Err() != nil || errors.Is(err, ErrLeaseLost):
			if !isClosed(u.p.drained) {
				u.p.standby(u.reg, fmt.Errorf("the lease of task %s was lost: %w", u.id, cmp.Or(err, h.valid.Err())))
			}
			return fencing{}
		case err != nil:
			u.p.cfg.Logger.Warn("the lease could not be renewed", "task", u.id.String(), "reason", err)
			pause /= 4
		}
	}
}

// mine finds out whether the lease still holds.
func (u *tenure) mine(h *holding) bool {
	for h.valid.Err() == nil {
		err := u.renew(h)
		if err == nil {
			return true
		}
		if errors.Is(err, ErrLeaseLost) || sleepUntil(h.valid, u.p.cfg.RenewEvery/4, nil, nil) != nil {
			break
		}
	}
	u.standby(ErrLeaseHeld)
	return false
}

// end ends the subscriptions and closes the tasks. When the processor is drained they are closed.
func (u *tenure) end(tm *term, drained bool) {
	u.mu.Lock()
	u.term = nil
	if tm.inside == 0 {
		close(tm.empty)
	}
	u.mu.Unlock()
	tm.cancel()
	if drained {
		return
	}
	select {
	case <-tm.empty:
	case <-u.p.drained:
	}
	for _, t := range u.p.tasksOf(u.reg) {
		if u.p.drop(u.reg, t.id.Partition) == nil {
			continue
		}
		close(t.leaving)
		t.letGo()
		if err := t.close(u.p.working, errLeaseEnded); err != nil {
			u.p.cfg.Logger.Warn("close a task whose lease ended", "task", t.id.String(), "reason", err)
		}
	}
}

// release ends the lease, so that another process need not wait for its end.
func (u *tenure) release(h holding) {
	h.cancel()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.p.working), u.p.cfg.RenewEvery)
	defer cancel()
	if err := h.lease.Release(ctx); err != nil {
		u.p.cfg.Logger.Warn("the lease could not be released", "task", u.id.String(), "reason", err)
	}
}

// enter returns the term, which the caller must leave, and nil when there is none. It can wait for
// one until the intake is to end.
func (u *tenure) enter(ctx context.Context, wait bool) *term {
	for {
		u.mu.Lock()
		tm, changed := u.term, u.changed
		if tm != nil {
			tm.inside++
		}
		u.mu.Unlock()
		if tm != nil || !wait {
			return tm
		}
		select {
		case <-changed:
		case <-u.p.draining:
			return nil
		case <-u.reg.ended:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (u *tenure) leave(tm *term) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if tm.inside--; tm.inside == 0 && u.term != tm {
		close(tm.empty)
	}
}

// within returns a context that ends with ctx and with the term.
func (tm *term) within(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(tm.ctx, cancel)
	return ctx
}

// lease returns the one the handler's task is to be opened under.
func (u *tenure) lease() Lease {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.term == nil {
		return nil
	}
	return u.term.lease
}

// fenced hears of a task that met a newer owner. It reports whether it sees to it.
func (u *tenure) fenced(t *Task, err error) bool {
	if t.lease == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.term != nil && u.term.lease == t.lease {
		select {
		case u.term.fenced <- fencing{t, err}:
		default:
		}
	}
	return true // of an earlier term: that one has ended
}
