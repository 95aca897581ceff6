package handlers

import (
	"errors"
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// manyWindows is from how many windows of one event on that is worth a warning.
const manyWindows = 100

// Plan implements [stateful.Planner]: what cannot hold within the limits is refused, what costs more than
// it may seem, or has no effect, is a warning, and the state is one of these windows, this mode and this value.
// A stored state lets Trigger, AllowedLateness, MaxDelay and all topics change, and the type of the value as far
// as it can be read; not Windows, Emit, or a value of another kind. State in slices lets Trigger not change, nor
// AllowedLateness shrink with FinalOnly: the task refuses that when it is opened.
func (w Window[E, A]) Plan(c stateful.Config) stateful.Plan {
	if w.Windows == nil || w.Windows.Validate() != nil {
		return stateful.Plan{} // Validate says what is wrong with them
	}
	p := planner{limits: c.Limits}
	switch kind := w.Windows.(type) {
	case window.SlidingWindows:
		w.planSliding(&p, kind)
	case window.TumblingWindows:
		p.open(kind.Sliding().Size(), kind.Sliding().Slide(), w.MaxDelay, w.AllowedLateness)
	case window.SessionWindows:
		p.open(kind.Gap(), kind.Gap(), w.MaxDelay, w.AllowedLateness)
	case window.GlobalWindows:
		if w.Trigger == nil || w.Trigger == FinalOnly() {
			p.warn("window.Global has no end but that of all input, and this Trigger gives no result before: set EveryN, Every or one of your own")
		}
		p.ignores(w.AllowedLateness)
	case window.CountWindows:
		p.ignores(w.AllowedLateness)
	}
	if d, ok := w.Trigger.(every); ok {
		p.ticks(time.Duration(d), c.TickEvery)
	}
	return stateful.Plan{Fault: errors.Join(p.faults...), Warnings: p.warnings, Schema: w.schema()}
}

// schema is what the stored state depends on.
func (w Window[E, A]) schema() []stateful.SchemaPart {
	parts := []stateful.SchemaPart{
		{Name: "handler", Kind: "Window"},
		{Name: "windows", Kind: w.Windows.String()},
		{Name: "results", Kind: w.Emit.String()},
	}
	if w.Aggregate.parts != "" {
		parts = append(parts, stateful.SchemaPart{Name: "values/All", Kind: w.Aggregate.parts, Version: max(w.State.Version, 1)})
	}
	if codec, err := stateful.NewStateCodec(w.State); err == nil {
		parts = append(parts, codec.Schema("values")...)
	}
	return parts
}

func (w Window[E, A]) planSliding(p *planner, s window.SlidingWindows) {
	n, most := s.PerEvent(), int64(p.limits.WindowsPerKey)
	switch {
	case n > most:
		p.fault("Windows are %v: every event would be in %d of them, and a key may have %d open ones (Limits.WindowsPerKey): "+
			"make the slide %v or more, or the size %v or less, or raise Limits.WindowsPerKey",
			s, n, most, time.Duration((s.Size()+most-1)/most)*time.Millisecond, time.Duration(most*s.Slide())*time.Millisecond)
		return
	case n >= manyWindows && !w.sliced():
		way := "make the slide longer"
		if w.plain() {
			way = "set Merge, so that it is folded once and windows are merged from slices, or " + way
		}
		p.warn("Windows are %v: every event is folded into %d of them, and as many values are stored: %s", s, n, way)
	}
	if k, ok := w.Trigger.(everyN); ok && n/int64(k) >= manyWindows {
		p.warn("Windows are %v and Trigger is %v: an event is in %d windows, so it gives %d results on average: make the slide longer, or give results less often", s, k, n, n/int64(k))
	}
	p.open(s.Size(), s.Slide(), w.MaxDelay, w.AllowedLateness)
}

// planner collects what is wrong with a plan.
type planner struct {
	limits   stateful.Limits
	faults   []error
	warnings []string
}

func (p *planner) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(format, args...))
}

func (p *planner) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// open warns when a key that has events all the time has more open windows than it may. size and
// slide are in milliseconds; a window is open from its first event until the watermark, which
// is delay behind, has passed its end and the lateness.
func (p *planner) open(size, slide int64, delay, lateness time.Duration) {
	n := (size+delay.Milliseconds()+lateness.Milliseconds())/slide + 1
	if n <= int64(p.limits.WindowsPerKey) {
		return
	}
	p.warn("a key with events all the time has %d open windows, (%v + MaxDelay %v + AllowedLateness %v) / %v, and may have %d (Limits.WindowsPerKey); "+
		"events that would open more are dead-lettered: shorten MaxDelay or AllowedLateness, make windows longer, or raise the limit",
		n, time.Duration(size)*time.Millisecond, delay, lateness, time.Duration(slide)*time.Millisecond, p.limits.WindowsPerKey)
}

// ignores warns of a lateness without effect.
func (p *planner) ignores(lateness time.Duration) {
	if lateness > 0 {
		p.warn("AllowedLateness %v has no effect: these windows have no end in time, so no event is late", lateness)
	}
}

// ticks warns of a time that the clock is not looked at often enough for.
func (p *planner) ticks(d, every time.Duration) {
	switch {
	case every < 0:
		p.warn("Trigger gives results every %v of the clock, which is looked at only by hand while Config.TickEvery is negative: set it, or call Processor.Tick", d)
	case d < every:
		p.warn("Trigger gives results every %v, and the clock is looked at every %v (Config.TickEvery): lower that, or take a longer time", d, every)
	}
}
