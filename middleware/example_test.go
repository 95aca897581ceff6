package middleware_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/stateful"
)

// A handler that fails twice is run three times.
func ExampleRetry() {
	tries := 0
	h := middleware.Retry{Base: time.Millisecond}.Middleware(func(msg *message.Message) ([]*message.Message, error) {
		if tries++; tries < 3 {
			return nil, errors.New("the database is restarting")
		}
		fmt.Printf("%s at try %d\n", msg.Payload, tries)
		return nil, nil
	})
	if _, err := h(message.NewMessage("1", []byte("paid"))); err != nil {
		fmt.Println(err)
	}
	// Output: paid at try 3
}

// After two failures in a row the breaker is open: the next message waits until it lets one through.
func ExampleCircuitBreaker() {
	down := true
	h := middleware.CircuitBreaker{
		Failures: 2, For: time.Millisecond, Name: "payments",
		OnChange: func(name, from, to string) { fmt.Printf("%s: %s\n", name, to) },
	}.Middleware(func(*message.Message) ([]*message.Message, error) {
		if down {
			return nil, errors.New("connection refused")
		}
		fmt.Println("handled")
		return nil, nil
	})
	for range 2 {
		_, err := h(message.NewMessage("1", nil))
		fmt.Println(err)
	}
	down = false
	if _, err := h(message.NewMessage("1", nil)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// connection refused
	// payments: open
	// connection refused
	// payments: half-open
	// handled
	// payments: closed
}

// What no retry can cure is put aside, and the message is acked.
func ExampleDeadLetter() {
	dead := middleware.DeadLetter{Publisher: printer{}, Topic: "payments-dead"}
	h := dead.Middleware(middleware.Retry{}.Middleware(func(*message.Message) ([]*message.Message, error) {
		return nil, stateful.Permanent(errors.New("unknown currency"))
	}))
	_, err := h(message.NewMessage("1", []byte("12 XXX")))
	fmt.Println("returned", err)
	// Output:
	// payments-dead: 12 XXX (unknown currency)
	// returned <nil>
}

type printer struct{}

func (printer) Publish(topic string, msgs ...*message.Message) error {
	for _, m := range msgs {
		fmt.Printf("%s: %s (%s)\n", topic, m.Payload, m.Metadata[stateful.DeadLetterReason])
	}
	return nil
}

func (printer) Close() error { return nil }
