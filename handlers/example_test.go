package handlers_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

type payment struct {
	Shop  string
	Cents int
	At    time.Time
}

// Revenue per shop per hour, emitted five minutes after the hour.
func ExampleWindow() {
	revenue := handlers.Window[payment, int]{
		Name: "revenue", From: "payments", To: "revenue-per-hour", LateTo: "payments-late",
		Key:      func(p payment) string { return p.Shop },
		Time:     func(p payment) time.Time { return p.At },
		Windows:  window.Tumbling(time.Hour),
		MaxDelay: 5 * time.Minute,
		Fold:     func(cents int, p payment) (int, error) { return cents + p.Cents, nil },
	}

	ten := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, revenue, handlerstest.StartAt(ten))
	d.Send(
		payment{"north", 250, ten.Add(1 * time.Minute)},
		payment{"north", 100, ten.Add(59 * time.Minute)},
		payment{"north", 999, ten.Add(65 * time.Minute)}, // closes 10:00-11:00
		payment{"north", 777, ten.Add(58 * time.Minute)}, // too late
	)
	for _, r := range handlerstest.Results[int](d, "revenue-per-hour") {
		fmt.Printf("%s %s: %d cents\n", r.Key, r.Window.Start.Format("15:04"), r.Value)
	}
	fmt.Println(len(d.Emitted("payments-late")), "late")
	// Output:
	// north 10:00: 350 cents
	// 1 late
}

// Several numbers of the same events.
func ExampleAll() {
	cents := func(p payment) float64 { return float64(p.Cents) }
	baskets := handlers.Window[payment, handlers.Values]{
		Name: "baskets", From: "payments", To: "baskets-per-day",
		Key:       func(p payment) string { return p.Shop },
		Time:      func(p payment) time.Time { return p.At },
		Windows:   window.Tumbling(24 * time.Hour),
		Aggregate: handlers.All(handlers.Count[payment](), handlers.Mean(cents), handlers.Max(cents)),
	}

	ten := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, baskets, handlerstest.StartAt(ten))
	d.Send(payment{"north", 250, ten}, payment{"north", 100, ten})
	d.End()
	for _, r := range handlerstest.Results[handlers.Values](d, "baskets-per-day") {
		fmt.Printf("%.0f payments, mean %.1f, largest %.0f\n", r.Value.At(0), r.Value.At(1), r.Value.At(2))
	}
	// Output: 2 payments, mean 175.0, largest 250
}
