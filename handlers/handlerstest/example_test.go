package handlerstest_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

// A handler's state and outputs survive a crash at the worst moment.
func ExampleDriver_CrashAt() {
	type click struct {
		User string
		At   time.Time
	}
	perMinute := handlers.Window[click, int]{
		Name: "clicks-per-minute", From: "clicks", To: "click-counts",
		Key:     func(c click) string { return c.User },
		Time:    func(c click) time.Time { return c.At },
		Windows: window.Tumbling(time.Minute),
		Fold:    func(n int, _ click) (int, error) { return n + 1, nil },
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, perMinute, handlerstest.StartAt(noon))
	d.Send(click{"ana", noon}, click{"ana", noon.Add(time.Second)})
	d.CrashAt(handlerstest.AfterCommit)
	d.Send(click{"ben", noon.Add(time.Minute)}) // closes the first minute
	for _, r := range handlerstest.Results[int](d, "click-counts") {
		fmt.Println(r.Key, r.Value, "crashed:", d.Crashed())
	}
	// Output: ana 2 crashed: true
}
