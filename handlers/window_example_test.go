package handlers_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

type pageVisit struct {
	Page string
	At   time.Time
}

func pageVisits() handlers.Window[pageVisit, int] {
	return handlers.Window[pageVisit, int]{
		Name: "visits", From: "visits", To: "visit-counts",
		Key:  func(v pageVisit) string { return v.Page },
		Time: func(v pageVisit) time.Time { return v.At },
		Fold: func(n int, _ pageVisit) (int, error) { return n + 1, nil },
	}
}

func printVisits(d *handlerstest.Driver) {
	for _, r := range handlerstest.Results[int](d, "visit-counts") {
		what := "result"
		if r.Retract != "" {
			what = "back"
		}
		fmt.Printf("%s %s-%s %s: %d\n", what, r.Window.Start.Format("15:04:05"), r.Window.End.Format("15:04:05"), r.Key, r.Value)
	}
}

// Visits in the last ten minutes, every five minutes: each counts in two windows.
func ExampleWindow_sliding() {
	w := pageVisits()
	w.Windows = window.Sliding(10*time.Minute, 5*time.Minute)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(noon))
	d.Send(pageVisit{"home", noon.Add(2 * time.Minute)}, pageVisit{"home", noon.Add(7 * time.Minute)}, pageVisit{"home", noon.Add(20 * time.Minute)})
	printVisits(d)
	// Output:
	// result 11:55:00-12:05:00 home: 1
	// result 12:00:00-12:10:00 home: 2
	// result 12:05:00-12:15:00 home: 1
}

// A result for every three visits of a page, whenever they come. Its window is that of the visits in it.
func ExampleWindow_count() {
	w := pageVisits()
	w.Windows = window.Count(3)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(noon))
	for i := range 7 {
		d.Send(pageVisit{"home", noon.Add(time.Duration(i) * time.Second)})
	}
	printVisits(d)
	// Output:
	// result 12:00:00-12:00:02 home: 3
	// result 12:00:03-12:00:05 home: 3
}

// A running total, from which a reader that adds up can take back what was counted before.
func ExampleEveryUpdate() {
	w := pageVisits()
	w.Windows, w.Trigger, w.Emit = window.Tumbling(time.Minute), handlers.EveryUpdate(), handlers.Retracting
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(noon))
	d.Send(pageVisit{"home", noon}, pageVisit{"home", noon.Add(time.Second)})
	printVisits(d)
	// Output:
	// result 12:00:00-12:01:00 home: 1
	// back 12:00:00-12:01:00 home: 1
	// result 12:00:00-12:01:00 home: 2
}

// Early results of every two visits; the end of the window gives the rest.
func ExampleEveryN() {
	w := pageVisits()
	w.Windows, w.Trigger = window.Tumbling(time.Minute), handlers.EveryN(2)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(noon))
	d.Send(pageVisit{"home", noon}, pageVisit{"home", noon.Add(1 * time.Second)}, pageVisit{"home", noon.Add(2 * time.Second)}, pageVisit{"home", noon.Add(time.Minute)})
	printVisits(d)
	// Output:
	// result 12:00:00-12:01:00 home: 2
	// result 12:00:00-12:01:00 home: 3
}

// One total of each page over all input, when the input ends.
func ExampleWindow_global() {
	w := pageVisits()
	w.Windows = window.Global()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, w, handlerstest.StartAt(noon))
	d.Send(pageVisit{"home", noon}, pageVisit{"home", noon.Add(time.Hour)})
	d.End()
	printVisits(d)
	// Output:
	// result 12:00:00-13:00:00 home: 2
}
