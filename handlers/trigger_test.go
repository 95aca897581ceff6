package handlers_test

import (
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
)

func TestReadyMadeTriggers(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	type (
		M = handlers.Moment
		S = handlers.TriggerState
		T = handlers.Trigger
	)
	early, late := M{Now: noon, Changed: true}, M{Now: noon, Ended: true, Changed: true}
	for _, tt := range []struct {
		name string
		ask  func(M, S) (handlers.Decision, S)
		m    M
		s    S
		want handlers.Decision
		next S
	}{
		{"every update fires for each", handlers.EveryUpdate().OnElement, early, S{}, handlers.Fire, S{}},
		{"at the end there is nothing new", handlers.EveryUpdate().OnEventTime, M{Ended: true}, S{}, handlers.Continue, S{}},
		{"every 3 counts", handlers.EveryN(3).OnElement, early, S{N: 1}, handlers.Continue, S{N: 2}},
		{"the third fires and the count begins anew", handlers.EveryN(3).OnElement, early, S{N: 2}, handlers.Fire, S{}},
		{"sessions that became one may have more", handlers.EveryN(3).OnElement, early, S{N: 7}, handlers.Fire, S{}},
		{"the end gives the rest", handlers.EveryN(3).OnEventTime, late, S{N: 2}, handlers.Fire, S{}},
		{"after the end each fires", handlers.EveryN(3).OnElement, late, S{}, handlers.Fire, S{}},
		{"every 5 s sets the clock", handlers.Every(5 * time.Second).OnElement, early, S{}, handlers.Continue, S{ClockAt: noon.Add(5 * time.Second)}},
		{"and leaves it", handlers.Every(5 * time.Second).OnElement, early, S{ClockAt: noon.Add(1)}, handlers.Continue, S{ClockAt: noon.Add(1)}},
		{"the clock fires", handlers.Every(5 * time.Second).OnProcessingTime, early, S{}, handlers.Fire, S{}},
		{"the end fires before the clock, which is off then", handlers.Every(5 * time.Second).OnEventTime, late, S{ClockAt: noon}, handlers.Fire, S{}},
		{"after the end each fires at once", handlers.Every(5 * time.Second).OnElement, late, S{}, handlers.Fire, S{}},
		{"final only waits for the allowed lateness", handlers.FinalOnly().OnEventTime, late, S{}, handlers.Continue, S{}},
		{"it ignores late events till then", handlers.FinalOnly().OnElement, late, S{}, handlers.Continue, S{}},
		{"then it fires", handlers.FinalOnly().OnEventTime, M{Ended: true, Closing: true, Changed: true}, S{}, handlers.Fire, S{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, next := tt.ask(tt.m, tt.s); got != tt.want || next != tt.next {
				t.Errorf("decided %v and keeps %v, want %v and %v", got, next, tt.want, tt.next)
			}
		})
	}
	names := map[string]bool{}
	for _, tr := range []T{
		handlers.EveryUpdate(), handlers.EveryN(2), handlers.EveryN(10), handlers.Every(10), handlers.Every(time.Second), handlers.FinalOnly(),
	} {
		if names[tr.String()] {
			t.Errorf("%q is the name of two", tr)
		}
		names[tr.String()] = true
	}
	for _, tr := range []T{handlers.EveryN(0), handlers.Every(0)} {
		if err := tr.(stateful.Validator).Validate(); err == nil {
			t.Errorf("%v is valid", tr)
		}
	}
}
