package handlers_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

// The arithmetic of the package's introduction, step by step.
func Example_watermark() {
	w := pageVisits()
	w.Windows, w.MaxDelay, w.AllowedLateness, w.LateTo = window.Tumbling(10*time.Second), 2*time.Second, 5*time.Second, "late"
	d := stepVisits(w)
	seen := 0
	for _, second := range []int{3, 12, 4, 17, 5} {
		d.Send(home(second))
		fmt.Printf("12:00:%02d:", second)
		results := handlerstest.Results[int](d, w.To)
		for _, r := range results[seen:] {
			fmt.Printf(" pane %d of %s-%s has %d,", r.Pane, r.Window.Start.Format("15:04:05"), r.Window.End.Format("15:04:05"), r.Value)
		}
		seen = len(results)
		fmt.Printf(" %d late\n", len(d.Emitted(w.LateTo)))
	}
	// Output:
	// 12:00:03: 0 late
	// 12:00:12: pane 0 of 12:00:00-12:00:10 has 1, 0 late
	// 12:00:04: pane 1 of 12:00:00-12:00:10 has 2, 0 late
	// 12:00:17: 0 late
	// 12:00:05: 1 late
}
