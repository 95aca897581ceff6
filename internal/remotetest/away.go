package remotetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
)

// Outages are the ways in which a server is away.
var Outages = map[string]testserver.Mode{
	"it does not answer":        {HoldUp: true, HoldDown: true},
	"it refuses connections":    {RefuseDials: true},
	"its answers do not arrive": {CutAnswers: 1},
}

// counter counts its records in the state.
type counter struct{ calls atomic.Int64 }

func (*counter) HandlerName() string { return "counter" }
func (*counter) Inputs() []string    { return []string{"in"} }

func (c *counter) Process(ctx context.Context, tx *stateful.Tx, _ *stateful.Record) error {
	c.calls.Add(1)
	v, err := tx.Get(ctx, "n")
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(v))
	tx.Put("n", strconv.AppendInt(nil, int64(n+1), 10))
	return nil
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !f() {
		if clock.Sleep(limit, time.Millisecond) != nil {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Pauses checks that the source pauses while the server is away: nothing is lost, nothing spins, and
// readiness says why, in the words of why; and that all goes on by itself when it is back. b reaches its
// server through p.
func Pauses(t *testing.T, b stateful.Backend, p *testserver.Proxy, outage testserver.Mode, why string) {
	ctx := context.Background()
	pubsub := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
	proc, err := stateful.NewProcessor(stateful.Config{App: "app", Source: pubsub, Backend: b, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	h := &counter{}
	if err := proc.AddTo(router, h); err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- proc.Run(running, router) }()
	<-router.Running()

	const messages = 40
	var acked atomic.Int64
	go func() {
		for i := range messages {
			if err := pubsub.Publish("in", message.NewMessage(fmt.Sprint("m", i), nil)); err != nil {
				t.Error(err)
			}
			acked.Add(1)
		}
	}()
	await(t, "the first messages", func() bool { return acked.Load() > 10 })
	p.Set(outage)
	p.Reset()
	await(t, "readiness says why", func() bool {
		err := proc.Ready()
		return err != nil && strings.Contains(err.Error(), why)
	})
	at, dials, calls := acked.Load(), p.Dials(), h.calls.Load()
	_ = clock.Sleep(ctx, time.Second)
	if acked.Load() != at {
		t.Error("messages were acknowledged while the server was away")
	}
	if n := p.Dials() - dials; n > 40 {
		t.Errorf("%d connections were tried in a second", n)
	}
	if n := h.calls.Load() - calls; n > 10 {
		t.Errorf("the handler was called %d times in a second", n)
	}
	p.Set(testserver.Mode{})
	p.Reset() // what hangs
	await(t, "all messages", func() bool { return acked.Load() == messages })
	await(t, "readiness", func() bool { return proc.Ready() == nil })
	cancel()
	if err := errors.Join(<-ended, pubsub.Close()); err != nil {
		t.Error(err)
	}
	s, _, err := b.Open(ctx, stateful.TaskID{App: "app", Handler: "counter"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(ctx, "un"); err != nil || string(v[0]) != strconv.Itoa(messages) {
		t.Errorf("%s of %d were counted, %v", v, messages, err)
	}
}
