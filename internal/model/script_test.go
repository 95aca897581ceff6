package model_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
)

// what a step of a script does.
type what int

const (
	send what = iota
	tick
	restart
	redeliver
	end // the last step
)

// step is one line of a script.
type step struct {
	what
	events []model.Event
	ms     int64              // of a tick
	crash  handlerstest.Point // when it comes there the nth time; 0: never
	nth    int
}

// script is what is played on both sides.
type script struct {
	spec       model.Spec
	merge      bool // there is a Merge
	pebble     bool
	partitions int
	idle       int // further partitions, of which nothing comes
	odd        int // keys that are hard to tell apart, 0: others
	rows       int // of a commit
	cells      int // decoded entries that may be in memory
	batch      int
	steps      []step
}

// String is what a failure prints: what one needs to play it by hand.
func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", s.spec)
	option := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&b, "  "+format+"\n", args...)
		}
	}
	option(s.merge && s.spec.Kind != model.Session, "with a Merge")
	option(s.pebble, "on pebble")
	option(s.partitions > 1, "on %d partitions", s.partitions)
	option(s.idle > 0, "and %d silent ones", s.idle)
	if s.odd > 0 {
		fmt.Fprintf(&b, "  keys %q\n", oddKeys[s.odd-1])
	}
	option(s.rows > 0, "commits of %d rows", s.rows)
	option(s.cells > 0, "%d entries in memory", s.cells)
	option(s.batch > 0, "batches of %d", s.batch)
	for _, st := range s.steps {
		if st.crash != 0 {
			fmt.Fprintf(&b, "crash %v at time %d in: ", st.crash, st.nth)
		}
		switch st.what {
		case send:
			b.WriteString("send")
			for _, e := range st.events {
				b.WriteString(" " + named(e))
			}
		case tick:
			fmt.Fprintf(&b, "tick %d", st.ms)
		case restart:
			b.WriteString("restart")
		case redeliver:
			b.WriteString("redeliver")
		case end:
			b.WriteString("end")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// named is an event as key@time, with its number, which is its name in results.
func named(e model.Event) string {
	s := fmt.Sprintf("%s@%d(%d)", e.Key, e.Time, e.N)
	if e.Input > 0 {
		s += fmt.Sprintf("/input%d", e.Input)
	}
	if e.Bad {
		s += "/bad"
	}
	if e.Not {
		s += "/not"
	}
	return s
}

var keys = []string{"a", "b", "c"}

// oddKeys are keys one of which is how others begin, also where keys are escaped.
var oddKeys = [][]string{{"", "a", "a\x00"}, {"a", "a\x00b", "ab"}, {"\x00", "\x00\x00", "\x00a"}}

// real is the key that the engine has for one of the script.
func (s script) real(key string) string {
	if s.odd > 0 {
		return oddKeys[s.odd-1][key[0]-'a']
	}
	return key
}

// letter is the key of the script.
func (s script) letter(real string) string {
	if s.odd > 0 {
		return keys[slices.Index(oddKeys[s.odd-1], real)]
	}
	return real
}

// sliced reports whether windows are merged from slices.
func (s script) sliced() bool {
	p := s.spec
	return p.Kind == model.Sliding && s.merge && p.Slide < p.Size && (p.Trigger == model.AtEnd && p.Mode == model.Accumulating || p.Trigger == model.FinalOnly)
}

// partition is where the events of a key are.
func (s script) partition(key string) int { return int(key[0]-'a') % s.partitions }

// scripts makes them. What it draws first is the simplest, so that failures shrink to it.
func scripts() *rapid.Generator[script] { return scriptsOf(specs()) }

func scriptsOf(specs *rapid.Generator[model.Spec]) *rapid.Generator[script] {
	return rapid.Custom(func(t *rapid.T) script {
		s := script{spec: specs.Draw(t, "spec")}
		// Small choices are drawn together: a draw costs more than what is made of it.
		luck := rapid.IntRange(0, 2*16*6*8*4*4*4*3-1).Draw(t, "luck")
		pick := func(n int) int {
			v := luck % n
			luck /= n
			return v
		}
		s.merge = s.spec.Kind == model.Session || pick(2) == 1
		s.pebble = pick(16) == 15
		s.partitions = max(1, pick(6)-2)
		s.odd = max(0, pick(8)-4)
		s.rows = []int{0, 1, 2, 5}[pick(4)]
		s.cells = []int{0, 1, 3, 9}[pick(4)]
		s.batch = []int{0, 1, 3, 4}[pick(4)]
		some := 1 + pick(3) // keys
		s.steps = append(rapid.SliceOfN(steps(s.spec, some), 1, 9).Draw(t, "steps"), drawnCrash(t, step{what: end}))
		s.number()
		return s
	})
}

// number gives events their names and makes their times, which were drawn as distances from the highest before, absolute.
func (s script) number() {
	high, n := int64(0), 0
	for _, st := range s.steps {
		for i := range st.events {
			e := &st.events[i]
			e.Time += high
			high = max(high, e.Time)
			e.N = n
			n++
		}
	}
}

func steps(spec model.Spec, keys int) *rapid.Generator[step] {
	paced := spec.FlushAfter > 0 || spec.IdleAfter > 0
	some := rapid.SliceOfN(events(spec, keys), 1, 6)
	return rapid.Custom(func(t *rapid.T) step {
		st := step{what: rapid.SampledFrom([]what{send, send, send, send, tick, tick, restart, redeliver}).Draw(t, "step")}
		switch st.what {
		case send:
			st.events = some.Draw(t, "events")
		case tick:
			st.ms = rapid.Int64Range(1, 6).Draw(t, "ms")
		}
		// A crash in a tick may lose what was decided about silence, or not.
		if st.what == send || st.what == tick && !paced {
			st = drawnCrash(t, st)
		}
		return st
	})
}

func drawnCrash(t *rapid.T, st step) step {
	n := rapid.IntRange(0, 5*4*3-1).Draw(t, "crash")
	if n%5 == 4 {
		st.crash, st.nth = handlerstest.Points[n/5%4], 1+n/20
	}
	return st
}

func specs() *rapid.Generator[model.Spec] {
	return rapid.Custom(func(t *rapid.T) model.Spec {
		s := model.Spec{
			Kind:     rapid.SampledFrom([]model.Kind{model.Tumbling, model.Session, model.Sliding, model.Session, model.Sliding, model.Global, model.Count}).Draw(t, "kind"),
			Trigger:  rapid.SampledFrom([]model.Trigger{model.AtEnd, model.AtEnd, model.AtEnd, model.EveryN, model.EveryTime, model.FinalOnly, model.Own}).Draw(t, "trigger"),
			Mode:     rapid.SampledFrom([]model.Mode{model.Accumulating, model.Accumulating, model.Discarding, model.Retracting}).Draw(t, "mode"),
			MaxDelay: rapid.SampledFrom([]int64{0, 0, 1, 3, 8, 20}).Draw(t, "delay"),
			Lateness: rapid.SampledFrom([]int64{0, 0, 1, 5, 30}).Draw(t, "lateness"),
			Inputs:   rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "inputs"),
		}
		switch s.Kind {
		case model.Tumbling, model.Sliding:
			s.Size = rapid.Int64Range(1, 24).Draw(t, "size")
			s.Offset = rapid.Int64Range(-30, 30).Draw(t, "offset")
			s.Slide = s.Size
			if s.Kind == model.Sliding {
				s.Slide = rapid.Int64Range(1, s.Size).Draw(t, "slide")
			}
		case model.Session:
			s.Gap = rapid.Int64Range(1, 9).Draw(t, "gap")
		case model.Count:
			s.N = rapid.Int64Range(1, 6).Draw(t, "n")
		}
		switch s.Trigger {
		case model.EveryN, model.EveryTime, model.Own:
			s.Every = rapid.Int64Range(1, 5).Draw(t, "every")
		}
		pace := rapid.IntRange(0, 7).Draw(t, "pace")
		if pace&1 == 1 && s.Inputs > 1 {
			s.IdleAfter = 1 + int64(pace)
		}
		if pace >= 6 {
			s.FlushAfter = rapid.Int64Range(2, 9).Draw(t, "flush")
		}
		return s
	})
}

// slicedSpecs are of windows that are merged from slices: few and many of them, of one length or of two in turn.
func slicedSpecs() *rapid.Generator[model.Spec] {
	return rapid.Custom(func(t *rapid.T) model.Spec {
		s := specs().Draw(t, "spec")
		s.Kind, s.Gap, s.N, s.Every = model.Sliding, 0, 0, 0
		s.Size = rapid.Int64Range(2, 63).Draw(t, "size")
		s.Slide = rapid.Int64Range(1, s.Size-1).Draw(t, "slide")
		if rapid.Bool().Draw(t, "many") {
			s.Slide = 1 + s.Slide%3
		}
		s.Slide = min(s.Slide, s.Size-1)
		s.Offset = rapid.Int64Range(-30, 30).Draw(t, "offset")
		if s.Trigger != model.FinalOnly {
			s.Trigger, s.Mode = model.AtEnd, model.Accumulating
		}
		s.Lateness = rapid.SampledFrom([]int64{0, 0, 1, 7, 30, 63}).Draw(t, "lateness")
		return s
	})
}

// events makes one, with a time as its distance from the highest before.
func events(s model.Spec, some int) *rapid.Generator[model.Event] {
	return rapid.Custom(func(t *rapid.T) model.Event {
		forward := rapid.SampledFrom([]int64{0, 1, 1, 2, 3, 5, 9, 25}).Draw(t, "forward")
		back := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 4, 8, 16, 40}).Draw(t, "back")
		luck := rapid.IntRange(0, 6*3*16-1).Draw(t, "luck")
		return model.Event{Key: keys[luck%6%some], Time: forward - back, Input: luck / 6 % 3 % s.Inputs, Bad: luck/18 == 15, Not: luck/18 == 14}
	})
}
