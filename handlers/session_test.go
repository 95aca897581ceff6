package handlers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful/window"
)

// visits counts the events of sessions with a gap of 5 ms.
func visits() handlers.Window[event, int] {
	w := counting()
	w.Windows = window.Session(5 * time.Millisecond)
	w.Merge = func(a, b int) (int, error) { return a + b, nil }
	w.LateTo = "late"
	return w
}

func TestSessions(t *testing.T) {
	const ms = time.Millisecond
	type W = handlers.Window[event, int]
	late := func(n int) func(*W) { return func(w *W) { w.AllowedLateness = time.Duration(n) * ms } }
	delay := func(n int) func(*W) { return func(w *W) { w.MaxDelay = time.Duration(n) * ms } }
	for _, tt := range []struct {
		name   string
		change func(*W)
		send   []event
		want   []string
	}{
		{"an open session is silent", nil, at("a@5"), nil},
		{"the watermark at the last millisecond closes it", nil, at("a@5", "b@10"), []string{"a 5-10 1"}},
		{"one millisecond before nothing closes", nil, at("a@5", "b@9"), nil},
		{"vector 8: a pause of exactly the gap goes on with the session", nil, at("a@0", "a@5", "b@10"), []string{"a 0-10 2"}},
		{"vector 9: a longer one ends it", nil, at("a@0", "a@6", "b@11"), []string{"a 0-5 1", "a 6-11 1"}},
		{"vector 10: an event between two sessions joins them", delay(20), at("a@0", "a@8", "a@4", "b@50"), []string{"a 0-13 3"}},
		{"vector 14: an event of a session that is gone is late", nil, at("a@0", "b@10", "a@5"), []string{"a 0-5 1", "late a 5"}},
		{
			"vector 15: an event is late only if what it becomes part of is",
			func(w *W) { w.Windows, w.MaxDelay = window.Session(3*ms), 0 },
			at("a@22", "b@23", "a@19", "b@40"),
			[]string{"a 19-25 2", "b 23-26 1"},
		},
		{"touching from below joins", delay(20), at("a@5", "a@0", "b@50"), []string{"a 0-10 2"}},
		{"a millisecond further below does not", delay(20), at("a@6", "a@0", "b@50"), []string{"a 0-5 1", "a 6-11 1"}},
		{"an event can join three", delay(30), at("a@0", "a@6", "a@12", "a@6", "a@3", "a@9", "b@60"), []string{"a 0-17 6"}},
		{"an older session grows", delay(30), at("a@0", "a@20", "a@2", "a@3", "b@60"), []string{"a 0-8 3", "a 20-25 1"}},
		{"an older session that grows into the latest", delay(30), at("a@0", "a@10", "a@4", "a@8", "b@60"), []string{"a 0-15 4"}},
		{"sessions in the reverse order", delay(40), at("a@30", "a@20", "a@10", "a@0", "b@90"), []string{"a 0-5 1", "a 10-15 1", "a 20-25 1", "a 30-35 1"}},
		{"before 1970 nothing is different", nil, at("a@-12", "a@-8", "b@0"), []string{"a -12--3 2"}},
		{"keys have sessions of their own", nil, at("a@0", "b@3", "a@4", "c@20"), []string{"b 3-8 1", "a 0-9 2"}},
		{"at one time they fire in order of keys", nil, at("b@0", "ab@0", "a@0", "c@20"), []string{"a 0-5 1", "ab 0-5 1", "b 0-5 1"}},
		{"the empty key is a key", nil, at("@1", "@2", "a@10"), []string{" 1-7 2"}},
		{
			"vector 23: one jump fires in order of time", delay(30), at("b@25", "a@15", "b@5", "a@6", "c@99"),
			[]string{"b 5-10 1", "a 6-11 1", "a 15-20 1", "b 25-30 1"},
		},
		{
			"an event that comes late, and changes no bounds, fires the same window again", late(10), at("a@0", "a@3", "b@8", "a@2", "a@1"),
			[]string{"a 0-8 2", "a 0-8 3 pane 1", "a 0-8 4 pane 2"},
		},
		{
			"one that moves the end, but not beyond the watermark, fires another window", late(10), at("a@0", "b@12", "a@3", "a@2", "a@5"),
			[]string{"a 0-5 1", "a 0-8 2", "a 0-8 3 pane 1", "a 0-10 4"},
		},
		{
			"one that moves it beyond opens the session again", late(10), at("a@0", "b@8", "a@4", "b@9", "b@10"),
			[]string{"a 0-5 1", "a 0-9 2"},
		},
		{
			"a session that fired joins one that did not", late(20), at("a@0", "b@6", "a@8", "a@4", "b@14"),
			[]string{"a 0-5 1", "b 6-11 1", "a 0-13 3"},
		},
		{
			"two sessions that fired become one", late(30), at("a@0", "a@8", "b@20", "a@4", "a@5"),
			[]string{"a 0-5 1", "a 8-13 1", "a 0-13 3", "a 0-13 4 pane 1"},
		},
		{
			"a session that nobody saw in time fires at once", late(10), at("b@12", "a@0", "a@0"),
			[]string{"a 0-5 1", "a 0-5 2 pane 1"},
		},
		{
			"when the lateness has passed a session is gone", late(5), at("a@0", "b@9", "a@0", "b@10", "a@0"),
			[]string{"a 0-5 1", "a 0-5 2 pane 1", "late a 0"},
		},
		{
			"a late event lives by the session it joins", late(3), at("a@0", "a@4", "b@11", "a@0", "b@12", "a@0"),
			[]string{"a 0-9 2", "a 0-9 3 pane 1", "late a 0"},
		},
	} {
		for _, restarts := range []bool{false, true} {
			name := tt.name
			if restarts {
				name += ", restarted after every event"
			}
			t.Run(name, func(t *testing.T) {
				w := visits()
				if tt.change != nil {
					tt.change(&w)
				}
				e := newEngine(t, w)
				if restarts {
					for _, ev := range tt.send {
						e.send(ev)
						e.restart()
					}
				} else {
					e.send(tt.send...)
				}
				if got := e.brief(); !slices.Equal(got, tt.want) {
					t.Errorf("published\n%q\nwant\n%q", got, tt.want)
				}
			})
		}
	}
}
