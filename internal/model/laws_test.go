package model_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
)

// finals are what stands at the end, by key and window: the events of the last result, of those that were not taken
// back, and of all when they add up. What has no end is one window.
func finals(s script, out []model.Output) map[string]string {
	events := map[string][]string{}
	for _, o := range out {
		name := fmt.Sprintf("%s [%d,%d)", o.Key, o.Start, o.End)
		if s.spec.Kind == model.Global {
			name = o.Key
		}
		switch {
		case o.Late:
		case o.Back:
			delete(events, name)
		case s.spec.Mode == model.Discarding:
			events[name] = append(events[name], strings.Fields(o.Value)...)
		default:
			events[name] = strings.Fields(o.Value)
		}
	}
	stands := map[string]string{}
	for name, list := range events {
		slices.Sort(list)
		stands[name] = strings.Join(list, " ")
	}
	return stands
}

// sameFinals plays s and other and wants the same to stand at the end.
func sameFinals(t *rapid.T, s, other script) {
	t.Helper()
	a, _ := play(t, s)
	b, _ := play(t, other)
	if x, y := finals(s, a), finals(other, b); !maps.Equal(x, y) {
		t.Fatalf("what stands at the end is\n%v\nand\n%v\nof the scripts\n%v\nand\n%v\nthat gave\n%s\nand\n%s", x, y, s, other, lined(a), lined(b))
	}
}

// sameOutputs plays s and other and wants the same outputs, key by key.
func sameOutputs(t *rapid.T, s, other script) {
	t.Helper()
	byKey := func(s script) []model.Output {
		out, _ := play(t, s)
		out = slices.DeleteFunc(out, func(o model.Output) bool { return !slices.Contains(keys, o.Key) })
		slices.SortStableFunc(out, func(a, b model.Output) int { return cmp.Compare(a.Key, b.Key) })
		return out
	}
	a, b := byKey(s), byKey(other)
	if !slices.Equal(a, b) {
		t.Fatalf("the outputs differ: %s\nof the scripts\n%v\nand\n%v\nwhich gave\n%s\nand\n%s", difference(b, a), s, other, lined(a), lined(b))
	}
}

// unpaced draws a script in which silence means nothing.
func unpaced(t *rapid.T) script {
	s := scripts().Draw(t, "script")
	s.spec.IdleAfter, s.spec.FlushAfter = 0, 0
	return s
}

// with returns the script with other steps, and with all of o that must not change what comes out.
func (s script) with(o script, steps []step) script {
	s.merge = o.merge || s.spec.Kind == model.Session
	s.pebble, s.rows, s.cells, s.batch, s.steps = o.pebble, o.rows, o.cells, o.batch, steps
	return s
}

// oneFinal reports whether of all results of a window one stands at the end: a session that grew is another window, and
// what it gave before stands when nothing takes it back.
func (s script) oneFinal() bool {
	early := s.spec.Trigger == model.EveryN || s.spec.Trigger == model.EveryTime
	return s.spec.Kind != model.Session || !early || s.spec.Mode == model.Retracting
}

// Events that are shuffled so far that none is late come to the same. A session that another event touches at its end
// is closed when the watermark is there, so sessions may be shuffled by a millisecond less.
func TestShufflingChangesNoFinal(t *testing.T) {
	check(t, 300, func(t *rapid.T) {
		s := unpaced(t)
		if s.spec.Kind == model.Count || s.spec.Trigger == model.Own || !s.oneFinal() {
			t.Skip("it is up to the order of events")
		}
		far := s.spec.MaxDelay
		if s.spec.Kind == model.Session {
			if far--; far < 0 {
				t.Skip("nothing can be shuffled")
			}
		}
		var events []model.Event
		for _, st := range s.steps {
			events = append(events, st.events...)
		}
		for i := range events {
			events[i].Bad = false
		}
		slices.SortStableFunc(events, func(a, b model.Event) int { return cmp.Compare(a.Time, b.Time) })
		s.steps = []step{{what: send, events: events}, {what: end}}

		place := map[int]int64{}
		for _, e := range events {
			place[e.N] = e.Time + rapid.Int64Range(0, far).Draw(t, "by")
		}
		events = slices.Clone(events)
		slices.SortStableFunc(events, func(a, b model.Event) int {
			return cmp.Or(cmp.Compare(place[a.N], place[b.N]), cmp.Compare(b.N, a.N))
		})
		var steps []step
		for some := range slices.Chunk(events, 3) {
			steps = append(steps, step{what: send, events: some}, step{what: tick, ms: 2})
		}
		sameFinals(t, s, s.with(scripts().Draw(t, "other"), append(steps, step{what: end})))
	})
}

// A topic that is split into partitions, of which each has the same watermark at every event, gives the same outputs.
func TestPartitionsWithOneWatermarkChangeNothing(t *testing.T) {
	check(t, 300, func(t *rapid.T) {
		s := scripts().Draw(t, "script")
		s.spec.FlushAfter = 0 // goes to the ends of the windows of a task
		s.partitions, s.odd = 1, 0
		other := s
		other.partitions, other.steps = rapid.IntRange(2, 3).Draw(t, "partitions"), nil
		for i, st := range s.steps {
			if st.events = slices.Clone(st.events); s.spec.IdleAfter > 0 {
				st.crash = 0 // nobody heard silence then
			}
			for j := range st.events {
				st.events[j].Bad = false // it moves no watermark, unless its windows are gone
			}
			s.steps[i] = st
			split := st
			split.events = nil
			for _, e := range st.events {
				for part := range other.partitions {
					if part == other.partition(e.Key) {
						split.events = append(split.events, e)
						continue
					}
					mark := e
					mark.Key = string(rune('a' + part + 3*other.partitions))
					mark.N += 1000
					split.events = append(split.events, mark)
				}
			}
			other.steps = append(other.steps, split)
		}
		sameOutputs(t, s, other)
	})
}

// Input that is replayed a thousand times as fast comes to the same, as long as the clock decides nothing; where it makes
// early results the same stands at the end.
func TestSpeedOfReplayChangesNoFinal(t *testing.T) {
	check(t, 300, func(t *rapid.T) {
		s := unpaced(t)
		if s.spec.Trigger == model.Own {
			t.Skip("it drops values by the clock")
		}
		other := s
		other.steps = nil
		for i, st := range s.steps {
			if st.what == tick {
				st.ms *= 1000
				s.steps[i] = st
				continue
			}
			other.steps = append(other.steps, st)
			if st.what == send {
				other.steps = append(other.steps, step{what: tick, ms: 1})
			}
		}
		switch {
		case s.spec.Trigger != model.EveryTime:
			sameOutputs(t, s, other)
		case s.spec.Kind != model.Count && s.oneFinal():
			sameFinals(t, s, other)
		}
	})
}

// Inputs that are idle from the beginning and partitions of which nothing comes change no output.
func TestIdleInputsAndPartitionsChangeNoOutput(t *testing.T) {
	check(t, 300, func(t *rapid.T) {
		s := unpaced(t)
		s.partitions, s.spec.Inputs = 1, 1
		for i := range s.steps {
			for j := range s.steps[i].events {
				s.steps[i].events[j].Input = 0
			}
		}
		other := s
		other.idle = rapid.IntRange(0, 2).Draw(t, "partitions")
		other.spec.Inputs = 1 + rapid.IntRange(0, 2).Draw(t, "inputs")
		other.spec.IdleAfter = 5
		other.steps = []step{{what: tick, ms: 5}}
		for _, st := range s.steps {
			if st.what == tick {
				st.crash = 0 // what was decided may be lost
			}
			other.steps = append(other.steps, st)
		}
		sameOutputs(t, s, other)
	})
}

// Whatever happens to the process, at whatever step and place, the outputs are those of one that nothing happened to.
func TestACrashAnywhereChangesNothing(t *testing.T) {
	check(t, 30, func(t *rapid.T) {
		s := unpaced(t)
		for i := range s.steps {
			s.steps[i].crash = 0
		}
		want, _ := play(t, s)
		for at := range s.steps {
			for _, p := range append([]handlerstest.Point{0}, handlerstest.Points...) {
				for n := 1; ; n++ {
					other := s
					other.steps = slices.Clone(s.steps)
					other.steps[at].crash, other.steps[at].nth = p, n
					if p == 0 {
						other.steps = slices.Insert(other.steps, at, step{what: restart})
					}
					o := run(t, other)
					if got := o.got(); !slices.Equal(got, want) {
						t.Fatalf("the outputs differ: %s\nof the script\n%v\nand without the crash\n%v", difference(got, want), other, s)
					}
					if o.crashes == 0 {
						break
					}
				}
			}
		}
	})
}
