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

// Ready returns nil when every task makes progress, else why each of the others
// does not.
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
	slices.SortFunc(errs[1:], func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
