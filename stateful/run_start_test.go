package stateful_test

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// slowStart is a source whose subscription takes for ever.
type slowStart struct{ asked chan struct{} }

func (s slowStart) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (slowStart) Close() error { return nil }

type nothing struct{}

func (nothing) HandlerName() string { return "nothing" }
func (nothing) Inputs() []string    { return []string{"in"} }
func (nothing) Process(context.Context, *stateful.Tx, *stateful.Record) error {
	return nil
}

func TestRunThatIsToldToEndWhileItSubscribesEndsAtOnce(t *testing.T) {
	const closeTimeout = time.Minute
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	src := slowStart{make(chan struct{})}
	p, err := stateful.NewProcessor(stateful.Config{App: "app", Source: src, Backend: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AddTo(router, nothing{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, router) }()
	<-src.asked
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run returns %v", err)
		}
	case <-time.After(closeTimeout / 2):
		t.Error("Run waits for handlers that never began")
	}
}

func TestRunThatIsToldToEndBeforeItBeginsEndsAtOnce(t *testing.T) {
	for range 50 {
		const closeTimeout = time.Minute
		router, err := message.NewRouter(message.RouterConfig{CloseTimeout: closeTimeout}, watermill.NopLogger{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := stateful.NewProcessor(stateful.Config{App: "app", Source: slowStart{make(chan struct{})}, Backend: memory.New()})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AddTo(router, nothing{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), closeTimeout/2)
		ended, stop := context.WithCancel(ctx)
		stop()
		if err := p.Run(ended, router); err != nil || ctx.Err() != nil {
			t.Fatalf("Run returns %v, %v", err, ctx.Err())
		}
		cancel()
	}
}
