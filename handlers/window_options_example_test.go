package handlers_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

var examplesNoon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// home is a visit of the home page, so many seconds after noon.
func home(seconds int) pageVisit {
	return pageVisit{"home", examplesNoon.Add(time.Duration(seconds) * time.Second)}
}

func stepVisits(w handlers.Window[pageVisit, int]) *handlerstest.Driver {
	return handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(examplesNoon))
}

// Visits of one page without a pause of more than 30 seconds. The third comes late and joins what were two sessions; the last one
// closes them, for its time is beyond their end.
func ExampleWindow_sessions() {
	w := pageVisits()
	w.Windows, w.MaxDelay = window.Session(30*time.Second), time.Minute
	w.Merge = func(a, b int) (int, error) { return a + b, nil }
	d := stepVisits(w)
	d.Send(home(0), home(50), home(25), home(300))
	printVisits(d)
	// Output:
	// result 12:00:00-12:01:20 home: 3
}

// Visits in the last day, every minute: with Merge one value is kept for each minute, and not one for each of the 1,440 windows that an
// event is in.
func ExampleWindow_slices() {
	w := pageVisits()
	w.Windows = window.Sliding(24*time.Hour, time.Minute)
	w.Merge = func(a, b int) (int, error) { return a + b, nil }
	d := stepVisits(w)
	d.Send(home(0), home(61), home(180))
	printVisits(d)
	// Output:
	// result 12:01:00-12:01:00 home: 1
	// result 12:02:00-12:02:00 home: 2
	// result 12:03:00-12:03:00 home: 2
}

// A window takes late events for 10 seconds after its end, and gives a result for each. What is later than that goes to LateTo.
func ExampleWindow_allowedLateness() {
	w := pageVisits()
	w.Windows, w.AllowedLateness, w.LateTo = window.Tumbling(time.Minute), 10*time.Second, "late"
	d := stepVisits(w)
	d.Send(
		home(5), home(60), // the watermark is at 12:00:59.999 and closes the minute
		home(50), home(69), home(51), // late, but within the 10 s
		home(70), home(52), // they are over
	)
	printVisits(d)
	fmt.Println(len(d.Emitted("late")), "too late")
	// Output:
	// result 12:00:00-12:01:00 home: 1
	// result 12:00:00-12:01:00 home: 2
	// result 12:00:00-12:01:00 home: 3
	// 1 too late
}

// Events may be 20 seconds behind the latest one without being late: so long the windows wait.
func ExampleWindow_maxDelay() {
	w := pageVisits()
	w.Windows, w.MaxDelay = window.Tumbling(time.Minute), 20*time.Second
	d := stepVisits(w)
	d.Send(home(5), home(79), home(59)) // the watermark is at 12:01:19 - 20 s - 1 ms, which is before 12:00:59.999
	printVisits(d)
	fmt.Println("and one more second:")
	d.Send(home(80))
	printVisits(d)
	// Output:
	// and one more second:
	// result 12:00:00-12:01:00 home: 2
}

// Visits of the front page alone. The others count for nothing, but they tell how late it is.
func ExampleWindow_where() {
	w := pageVisits()
	w.Windows, w.Stats = window.Tumbling(time.Minute), new(handlers.Stats)
	w.Where = func(v pageVisit) bool { return v.Page == "home" }
	d := stepVisits(w)
	d.Send(home(5), pageVisit{"help", examplesNoon.Add(time.Second)}, pageVisit{"help", examplesNoon.Add(time.Minute)})
	printVisits(d)
	c := w.Stats.Read()
	fmt.Println(c.Folded, "folded,", c.Filtered, "filtered")
	// Output:
	// result 12:00:00-12:01:00 home: 1
	// 1 folded, 2 filtered
}

// Nothing came for a minute, so what is open is closed, by the clock.
func ExampleWindow_flushAfter() {
	w := pageVisits()
	w.Windows, w.FlushAfter = window.Tumbling(time.Minute), time.Minute
	d := stepVisits(w)
	d.Send(home(5))
	d.Advance(59 * time.Second)
	printVisits(d)
	fmt.Println("and one more second:")
	d.Advance(time.Second)
	printVisits(d)
	// Output:
	// and one more second:
	// result 12:00:00-12:01:00 home: 1
}

// Results in a shape of one's own.
func ExampleWindow_encode() {
	w := pageVisits()
	w.Windows = window.Tumbling(time.Minute)
	w.Encode = func(r handlers.Result[int]) (any, error) {
		return map[string]any{"page": r.Key, "minute": r.Window.Start.Format("15:04"), "visits": r.Value}, nil
	}
	d := stepVisits(w)
	d.Send(home(5), home(60))
	fmt.Println(d.Emitted("visit-counts")[0])
	// Output: {"minute":"12:00","page":"home","visits":1}
}

// Early results by the clock: at most one in ten seconds, and none while nothing comes.
func ExampleEvery() {
	w := pageVisits()
	w.Windows, w.Trigger = window.Tumbling(time.Hour), handlers.Every(10*time.Second)
	d := stepVisits(w)
	d.Send(home(0), home(1))
	d.Advance(10 * time.Second)
	d.Advance(10 * time.Second)
	d.Send(home(20))
	d.Advance(10 * time.Second)
	printVisits(d)
	// Output:
	// result 12:00:00-13:00:00 home: 2
	// result 12:00:00-13:00:00 home: 3
}

// One result for each window, late events included, when its lateness is over.
func ExampleFinalOnly() {
	w := pageVisits()
	w.Windows, w.AllowedLateness, w.Trigger = window.Tumbling(time.Minute), 10*time.Second, handlers.FinalOnly()
	d := stepVisits(w)
	d.Send(home(5), home(60), home(50), home(70))
	printVisits(d)
	// Output:
	// result 12:00:00-12:01:00 home: 2
}

// Three events with a result for each, in the three modes. What a reader adds up that takes back what is taken back: of
// accumulating results only the last counts, discarding ones add up to 3, and so do retracting ones, 1 - 1 + 2 - 2 + 3.
func ExampleEmitMode() {
	for _, mode := range []handlers.EmitMode{handlers.Accumulating, handlers.Discarding, handlers.Retracting} {
		w := pageVisits()
		w.Windows, w.Trigger, w.Emit = window.Tumbling(time.Minute), handlers.EveryUpdate(), mode
		d := stepVisits(w)
		d.Send(home(0), home(1), home(2))
		fmt.Print(mode, ":")
		for _, r := range handlerstest.Results[int](d, "visit-counts") {
			if r.Retract != "" {
				fmt.Print(" -", r.Value)
			} else {
				fmt.Print(" ", r.Value)
			}
		}
		fmt.Println()
	}
	// Output:
	// accumulating: 1 2 3
	// discarding: 1 1 1
	// retracting: 1 -1 2 -2 3
}

// firstAndLast gives a result for the first event of a window, and for the whole at its end.
type firstAndLast struct{}

func (firstAndLast) String() string { return "first and last" }

func (firstAndLast) OnElement(_ handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if s.N++; s.N == 1 {
		return handlers.Fire, s
	}
	return handlers.Continue, s
}

func (firstAndLast) OnEventTime(m handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	if m.Ended && m.Changed {
		return handlers.Fire, s
	}
	return handlers.Continue, s
}

func (firstAndLast) OnProcessingTime(_ handlers.Moment, s handlers.TriggerState) (handlers.Decision, handlers.TriggerState) {
	return handlers.Continue, s
}

// A trigger of one's own. The event of 12:01:00 gives the first result of its window before it moves the watermark.
func ExampleTrigger() {
	w := pageVisits()
	w.Windows, w.Trigger = window.Tumbling(time.Minute), firstAndLast{}
	d := stepVisits(w)
	d.Send(home(0), home(1), home(2), home(60))
	printVisits(d)
	// Output:
	// result 12:00:00-12:01:00 home: 1
	// result 12:01:00-12:02:00 home: 1
	// result 12:00:00-12:01:00 home: 3
}

// What a handler counted, in all and by partition.
func ExampleStats() {
	w := pageVisits()
	w.Windows, w.Stats = window.Tumbling(time.Minute), new(handlers.Stats)
	d := stepVisits(w)
	d.Send(home(5), home(60), home(6))
	c := w.Stats.Read()
	fmt.Println(c.Folded, "folded,", c.Late, "late,", c.Fired, "fired,", c.Open, "open, watermark", time.UnixMilli(c.Watermark).UTC().Format("15:04:05.000"))
	for task, c := range w.Stats.Tasks() {
		fmt.Println("partition", task.Partition, "of", task.Handler, "has", c.Late, "late")
	}
	// Output:
	// 2 folded, 1 late, 1 fired, 1 open, watermark 12:00:59.999
	// partition 0 of visits has 1 late
}
