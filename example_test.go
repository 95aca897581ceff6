package pondage_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/pebble"
	"github.com/pondage/pondage/stateful/window"
)

type Click struct {
	User string
	At   time.Time
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The first screen of the README.
func Example() {
	perMinute := handlers.Window[Click, int]{
		Name: "clicks-per-minute", From: "clicks", To: "click-counts",
		Key:     func(c Click) string { return c.User },
		Time:    func(c Click) time.Time { return c.At },
		Windows: window.Tumbling(time.Minute), MaxDelay: 10 * time.Second,
		Fold: func(n int, _ Click) (int, error) { return n + 1, nil },
	}
	d := handlerstest.New(handlerstest.Panic, perMinute, handlerstest.StartAt(noon))
	d.Send(Click{"ana", noon}, Click{"ana", noon.Add(71 * time.Second)}) // the second one closes the first minute
	fmt.Println(handlerstest.Results[int](d, "click-counts")[0].Value)
	// Output: 1
}

var perMinute = handlers.Window[Click, int]{
	Name: "clicks-per-minute", From: "clicks", To: "click-counts",
	Key:     func(c Click) string { return c.User },
	Time:    func(c Click) time.Time { return c.At },
	Windows: window.Tumbling(time.Minute),
	Fold:    func(n int, _ Click) (int, error) { return n + 1, nil },
}

func run(ctx context.Context) error {
	backend, err := pebble.New(ctx, pebble.Config{Dir: "data"})
	if err != nil {
		return err
	}
	defer backend.Close()
	events, err := embedded.Open(embedded.Config{DB: backend.DB()})
	if err != nil {
		return err
	}
	defer events.Close()

	router, err := message.NewRouter(message.RouterConfig{}, watermill.NewSlogLogger(nil))
	if err != nil {
		return err
	}
	router.AddMiddleware(middleware.Retry{}.Middleware, middleware.CircuitBreaker{}.Middleware)

	p, err := stateful.NewProcessor(stateful.Config{
		App: "clicks", Source: events, Backend: backend, Outbox: outbox.New(events.Sink()),
	})
	if err != nil {
		return err
	}
	if err := p.AddTo(router, perMinute); err != nil { // names every fault at once
		return err
	}
	slog.Info("delivery", "guarantee", p.Guarantee())
	return p.Run(ctx, router)
}

// A service. It runs until its context ends.
func Example_service() {
	fmt.Println(run(context.Background()))
}
