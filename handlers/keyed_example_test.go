package handlers_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
)

type heartbeat struct {
	Machine string
	At      time.Time
	Celsius float64
}

// hottest is a state beside the one of the handler: the highest reading of each day.
var hottest = stateful.Map[string, float64]{Name: "hottest", TTL: 7 * 24 * time.Hour}

// A machine that has not been heard of for a minute is reported, once, and again when it is back.
func ExampleKeyed() {
	watch := handlers.Keyed[heartbeat, time.Time]{
		Name: "watch", From: "heartbeats", To: "alarms", SideTo: []string{"records"},
		Key:    func(h heartbeat) string { return h.Machine },
		Time:   func(h heartbeat) time.Time { return h.At },
		States: []stateful.State{&hottest},
		OnEvent: func(ctx context.Context, c *handlers.Context[time.Time], h heartbeat) error {
			last, known := c.Get()
			if known && !last.Before(c.Time()) {
				return nil // an older one, that came late
			}
			if known && c.Time().Sub(last) >= time.Minute {
				if err := c.Emit(c.Key + " is back"); err != nil {
					return err
				}
			}
			c.DeleteTimer(stateful.EventTime, last.Add(time.Minute), "silent")
			c.Put(c.Time())

			day := c.Time().Format(time.DateOnly)
			record, _, err := hottest.Get(ctx, c.Scope, day)
			if err != nil {
				return err
			}
			if h.Celsius > record {
				if err := hottest.Put(ctx, c.Scope, day, h.Celsius); err != nil {
					return err
				}
				if err := c.EmitTo("records", fmt.Sprintf("%s %.0f degrees", c.Key, h.Celsius)); err != nil {
					return err
				}
			}
			return c.SetTimer(stateful.EventTime, c.Time().Add(time.Minute), "silent")
		},
		OnTimer: func(_ context.Context, c *handlers.Context[time.Time], _ stateful.Timer) error {
			return c.Emit(c.Key + " is silent")
		},
	}

	ten := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, watch, handlerstest.StartAt(ten))
	d.Send(
		heartbeat{"press", ten, 40},
		heartbeat{"press", ten.Add(50 * time.Second), 45},
		heartbeat{"lathe", ten.Add(55 * time.Second), 30},
		heartbeat{"lathe", ten.Add(111 * time.Second), 20}, // the press is silent since 10:01:50
		heartbeat{"press", ten.Add(115 * time.Second), 41},
	)
	fmt.Println(strings.Join(d.Emitted("alarms"), "\n"))
	fmt.Println(strings.Join(d.Emitted("records"), "\n"))
	// Output:
	// "press is silent"
	// "press is back"
	// "press 40 degrees"
	// "press 45 degrees"
	// "lathe 30 degrees"
}

// A Watermill handler as it was written for a Router, and now exactly-once.
func ExampleFunc() {
	greet := func(msg *message.Message) ([]*message.Message, error) {
		m := message.NewMessage(watermill.NewUUID(), []byte("hello "+string(msg.Payload)))
		m.Metadata.Set("pondage_key", string(msg.Payload)) // what the outputs are partitioned by
		return []*message.Message{m}, nil
	}
	greetings := handlers.Func{Name: "greetings", From: "names", To: "greetings", Handle: greet}

	d := handlerstest.New(handlerstest.Panic, greetings)
	d.Send([]byte("ana"), []byte("bo"))
	d.CrashAt(handlerstest.AfterCommit)
	d.Send([]byte("cy"))
	for _, r := range d.Records("greetings") {
		fmt.Printf("%s: %s\n", r.Key, r.Value)
	}
	// Output:
	// ana: hello ana
	// bo: hello bo
	// cy: hello cy
}
