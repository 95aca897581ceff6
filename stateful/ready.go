package stateful

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// waits is why a task makes no progress. Each kind is set and taken back by one place in
// the code, so that what one of them has ended does not hide another.
type waits int

// The kinds.
const (
	waitsForTask    waits = iota // its store, outbox or fence failed
	waitsForSource               // what the source delivers does not follow
	waitsForRecord               // a record or a firing failed for good and nothing takes it
	waitsForBreaker              // the circuit breaker is open
	waitsForRoom                 // the outbox is full
	waitsForSink                 // a sink fails
	waitsForever                 // another owner has it
	waitsKinds
)

// report says why a task waits; empty: for this reason it no longer does.
func (p *Processor) report(t *Task, kind waits, why string) {
	p.mu.Lock()
	was := t.waits[kind]
	t.waits[kind] = why
	p.mu.Unlock()
	if why != "" && why != was {
		p.cfg.Logger.Warn("task waits", "task", t.id.String(), "reason", why)
	}
}

// standby says why a handler has no lease; nil: it has, or needs none.
func (p *Processor) standby(r *registration, why error) {
	p.mu.Lock()
	was := p.waiting[r]
	if why == nil {
		delete(p.waiting, r)
	} else {
		p.waiting[r] = why
	}
	p.mu.Unlock()
	if why != nil && (was == nil || why.Error() != was.Error()) {
		p.cfg.Logger.Warn("handler waits", "handler", r.name, "reason", why)
	}
}

// Ready returns nil when every task makes progress, else why each of the others
// does not. When nothing failed and some handlers only stand by for another process, the
// error wraps [ErrStandby]; when anything failed it does not.
func (p *Processor) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := []error{p.stopErr}
	for id, t := range p.tasks {
		for _, why := range t.waits {
			if why != "" {
				errs = append(errs, fmt.Errorf("task %s waits: %s", id, why))
			}
		}
	}
	var standing []error
	for r, why := range p.waiting {
		err := fmt.Errorf("handler %q: %w", r.name, why)
		if errors.Is(why, ErrStandby) {
			standing = append(standing, err)
		} else {
			errs = append(errs, err)
		}
	}
	sortErrors(errs[1:])
	sortErrors(standing)
	if err := errors.Join(errs...); err != nil {
		for _, s := range standing {
			err = fmt.Errorf("%w\n%v", err, s) //nolint:errorlint // it is no stand-by when something failed
		}
		return err
	}
	return errors.Join(standing...)
}

func sortErrors(errs []error) {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
