package outbox_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

type greeter struct{}

func (greeter) HandlerName() string { return "greeter" }
func (greeter) Inputs() []string    { return []string{"names"} }
func (greeter) Outputs() []string   { return []string{"greetings", "audit"} }

func (greeter) Process(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	for _, topic := range []string{"greetings", "audit"} {
		if err := tx.Emit(stateful.Row{Topic: topic, Payload: append([]byte("hello "), rec.Value...), Time: stateful.NoTime}); err != nil {
			return err
		}
	}
	return nil
}

// One sink takes the topics it names, the last one the rest: here any Watermill publisher.
func ExampleNew() {
	ctx := context.Background()
	pubsub := gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: 10}, watermill.NopLogger{})
	defer pubsub.Close()
	greetings, err := pubsub.Subscribe(ctx, "greetings")
	if err != nil {
		panic(err)
	}
	audit := outbox.NewMemory("audit")
	p, err := stateful.NewProcessor(stateful.Config{
		App: "example", Backend: memory.New(),
		Outbox: outbox.New(audit, outbox.Publisher(pubsub, outbox.PublisherConfig{})),
	})
	if err != nil {
		panic(err)
	}
	if err := p.AddTo(nil, greeter{}); err != nil {
		panic(err)
	}
	names := stateful.Batch{
		Partition: stateful.Partition{Topic: "names"}, Log: "names-1", Start: 0, End: 1,
		Records: []stateful.Record{{Value: []byte("ana"), Time: stateful.NoTime}},
	}
	if err := p.Process(ctx, "greeter", names); err != nil {
		panic(err)
	}
	if err := p.Close(ctx); err != nil {
		panic(err)
	}
	msg := <-greetings
	msg.Ack()
	fmt.Printf("%s, audited: %s\n", msg.Payload, audit.Rows()[0].Payload)
	// Output: hello ana, audited: hello ana
}
