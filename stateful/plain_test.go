package stateful_test

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// plain is a stock subscriber with one subscription: it forwards what is sent to it and
// redelivers nothing.
type plain chan *message.Message

func (p plain) Close() error { return nil }
func (p plain) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg := <-p:
				select {
				case out <- msg:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
