package middleware_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("the database is down")

// bench is a handler in a real Router on an in-memory Pub/Sub. Time is that of a
// synctest bubble: waits cost nothing and are exact.
type bench struct {
	t      *testing.T
	pubsub *gochannel.GoChannel
	start  time.Time
	cancel context.CancelFunc
	ended  chan error

	mu    sync.Mutex
	calls []time.Duration // when the handler ran
}

// newBench runs handle for the messages of topic "in", under mw, outermost first.
func newBench(t *testing.T, handle func(*message.Message) error, mw ...message.HandlerMiddleware) *bench {
	t.Helper()
	b := &bench{t: t, start: now(), ended: make(chan error, 1)}
	// Without BlockPublishUntilSubscriberAck a GoChannel does not keep order.
	b.pubsub = gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router.AddMiddleware(mw...)
	router.AddConsumerHandler("bench", "in", b.pubsub, func(msg *message.Message) error {
		b.mu.Lock()
		b.calls = append(b.calls, b.elapsed())
		b.mu.Unlock()
		return handle(msg)
	})
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(t.Context())
	go func() { b.ended <- router.Run(ctx) }()
	<-router.Running()
	return b
}

// stop ends the router; it must come before the bubble's end.
func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		b.t.Errorf("router: %v", err)
	}
	if err := b.pubsub.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) elapsed() time.Duration { return now().Sub(b.start) }

// publish returns once the message is acked.
func (b *bench) publish(msgs ...*message.Message) {
	b.t.Helper()
	if err := b.pubsub.Publish("in", msgs...); err != nil {
		b.t.Errorf("publish: %v", err)
	}
}

func (b *bench) ran() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

func msg(payload string) *message.Message { return message.NewMessage("id-"+payload, []byte(payload)) }

// failing returns a handler that fails with errs, one after the other, then succeeds.
func failing(errs ...error) func(*message.Message) error {
	var mu sync.Mutex
	return func(*message.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		var p panicking
		if errors.As(err, &p) {
			panic(string(p))
		}
		return err
	}
}

// panicking makes failing panic.
type panicking string

func (p panicking) Error() string { return string(p) }

func times(n int, err error) []error {
	var errs []error
	for range n {
		errs = append(errs, err)
	}
	return errs
}

func in(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func now() time.Time { return time.Now() }
