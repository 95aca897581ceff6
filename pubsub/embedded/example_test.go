package embedded_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/pubsub/embedded"
)

// The log is a Watermill Pub/Sub like any other. Open keeps it in a folder, OpenMemory only
// as long as the process lives.
func Example() {
	events, err := embedded.OpenMemory(embedded.Config{})
	if err != nil {
		panic(err)
	}
	defer events.Close()
	for _, user := range []string{"ana", "ben"} {
		if err := events.Publisher().Publish("clicks", message.NewMessage("", []byte(user))); err != nil {
			panic(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	clicks, err := events.Subscribe(ctx, "clicks") // from where its group stopped: here from the start
	if err != nil {
		panic(err)
	}
	seen := map[string]bool{}
	for len(seen) < 2 {
		msg := <-clicks
		seen[string(msg.Payload)] = true
		msg.Ack()
	}
	fmt.Println(seen)
	// Output: map[ana:true ben:true]
}
