package stateful_test

import (
	"context"
	"testing"
	"testing/synctest"
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

// revoking is a source that revokes its partitions when the subscription ends, as the embedded log does.
type revoking struct{ *source }

func (s revoking) Attach(group string, inputs []string, o stateful.Owner) (message.Subscriber, error) {
	sub, err := s.source.Attach(group, inputs, o)
	return revokingSubscriber{sub.(*attached)}, err
}

type revokingSubscriber struct{ *attached }

func (r revokingSubscriber) SubscribeBatches(ctx context.Context, topic string) (<-chan *message.Message, error) {
	context.AfterFunc(ctx, func() {
		for i := range r.s.traits.Partitions {
			go r.o.Revoked(context.WithoutCancel(ctx), []stateful.Partition{{Topic: topic, Index: int32(i)}})
		}
	})
	return r.attached.SubscribeBatches(ctx, topic)
}

// A router ends a handler's context, and with it the subscription, as soon as its messages end.
func TestTheDrainPublishesEveryTaskBeforeAnyIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := revoking{newSource("a 1")}
		src.add("in", 1, "b 2")
		src.traits.Partitions = 2
		sys := runSystemHeld(t, src)
		time.AfterFunc(20*time.Second, sys.sink.release)
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		if got := sys.sink.all(); len(got) != 2 {
			t.Errorf("published %q, want the outputs of both tasks", got)
		}
	})
}

// runSystemHeld is runSystem with a sink that publishes nothing yet.
func runSystemHeld(t *testing.T, src message.Subscriber) *system {
	t.Helper()
	sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) { c.Source = src })}
	sys.sink.hold()
	sys.start()
	return sys
}
