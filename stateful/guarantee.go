package stateful

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Level is how often an input takes effect.
type Level int

// The levels, from weakest to strongest.
const (
	AtMostOnce Level = iota + 1
	AtLeastOnce
	ExactlyOnce
)

func (l Level) String() string {
	switch l {
	case AtMostOnce:
		return "at most once"
	case AtLeastOnce:
		return "at least once"
	case ExactlyOnce:
		return "exactly once"
	}
	return "unknown"
}

// Guarantee is what a chain of source, backend and sinks gives, with the reason
// for each weakening, and for what may differ in a replay.
type Guarantee struct {
	Level   Level
	Reasons []string
}

func (g Guarantee) String() string {
	if len(g.Reasons) == 0 {
		return g.Level.String()
	}
	return g.Level.String() + ": " + strings.Join(g.Reasons, "; ")
}

func (g *Guarantee) weaken(to Level, format string, args ...any) {
	g.Level = min(g.Level, to)
	if why := fmt.Sprintf(format, args...); !slices.Contains(g.Reasons, why) {
		g.Reasons = append(g.Reasons, why)
	}
}

// Guarantee returns what all handlers added so far get, computed from what
// source, backend and sinks declare.
func (p *Processor) Guarantee() Guarantee {
	p.mu.Lock()
	regs := slices.Clone(p.regs)
	p.mu.Unlock()
	all := Guarantee{Level: ExactlyOnce}
	for _, r := range regs {
		g := p.guarantee(r)
		for _, why := range g.Reasons {
			all.weaken(g.Level, "%s", why)
		}
	}
	return all
}

func (p *Processor) guarantee(r *registration) Guarantee {
	g := Guarantee{Level: ExactlyOnce}
	tr := r.traits
	switch {
	case r.src == nil: // batches come by Process; positions and ids are the caller's
	case !tr.Position && !tr.StableID:
		g.weaken(AtLeastOnce, "the source of %q has no positions and does not declare that its message ids are stable: "+
			"records are told apart by UUID for %v", r.name, p.cfg.Limits.DedupFor)
	case !tr.Position && p.cfg.Limits.DedupWeaken:
		g.weaken(AtLeastOnce, "Limits.DedupWeaken forgets the oldest ids when there are more than %d", p.cfg.Limits.DedupMarks)
	}
	if p.cfg.Limits.FutureByClock {
		g.weaken(g.Level, "Limits.FutureByClock is set: what is too far in the future is decided by the clock, so an input that is handled again from its start may be taken otherwise")
	}
	if r.listens() {
		g.weaken(g.Level, "IdleAfter or FlushAfter of %q is set: silence, by the clock, closes windows, so what is handled again from the start of the input may give other results", r.name)
	}
	if p.cfg.Backend.Domain() == DomainProcess {
		p.weakenByProcess(&g, r)
	}
	for _, topic := range r.outputs {
		if t := p.cfg.Outbox.SinkTraits(topic); t.Weak != "" {
			g.weaken(AtLeastOnce, "sink %q: %s", t.Name, t.Weak)
		}
	}
	return g
}

// weakenByProcess says what state that dies with the process means.
func (p *Processor) weakenByProcess(g *Guarantee, r *registration) {
	if r.src != nil && r.traits.Domain == DomainProcess && r.traits.Position {
		return // the input dies with it
	}
	if r.src != nil && !r.traits.Seek {
		g.weaken(AtMostOnce, "the state is in memory and the source of %q cannot seek: what was acknowledged is gone after a crash", r.name)
		return
	}
	for _, topic := range r.outputs {
		if t := p.cfg.Outbox.SinkTraits(topic); t.Domain != DomainProcess {
			g.weaken(AtLeastOnce, "the state is in memory: after a crash the input is read again from its start and sink %q gets its outputs again", t.Name)
		}
	}
}

// checkDomain says what keeps less than Config.Domain asks for (S1).
func (p *Processor) checkDomain(r *registration) error {
	want := p.cfg.Domain
	var errs []error
	check := func(what string, has Domain, remedy string) {
		if has < want {
			errs = append(errs, fmt.Errorf("Config.Domain is %s and %s is lost with the %s: %s", want, what, has, remedy))
		}
	}
	check("the state", p.cfg.Backend.Domain(), "take a backend that keeps more")
	if r.declares {
		check("the source", r.traits.Domain, "take one that keeps more")
	}
	for _, topic := range r.outputs {
		t := p.cfg.Outbox.SinkTraits(topic)
		check(fmt.Sprintf("sink %q", t.Name), t.Domain, "take one that keeps more, or have it say so when it does")
	}
	return errors.Join(errs...)
}
