package middleware_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/stateful"
)

// F1: without the rule an open breaker is a redelivery loop; Watermill's own made
// 881,816 deliveries of one message in two seconds.
func TestOpenBreakerPausesDelivery(t *testing.T) {
	in(t, func(t *testing.T) {
		var states []string
		deliveries := 0
		count := func(h message.HandlerFunc) message.HandlerFunc {
			return func(m *message.Message) ([]*message.Message, error) { deliveries++; return h(m) }
		}
		b := newBench(t, failing(times(7, errDown)...), count, middleware.CircuitBreaker{
			OnChange: func(_, from, to string) { states = append(states, from+">"+to) },
		}.Middleware)
		defer b.stop()
		b.publish(msg("a")) // a GoChannel delivers again at once what was nacked
		if deliveries != 8 || b.ran() != 8 {
			t.Errorf("%d deliveries and %d runs, want 8: 5 until it opened, 3 probes", deliveries, b.ran())
		}
		if took := b.elapsed(); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("it took %v, want three times open for 10 s", took)
		}
		want := []string{"closed>open", "open>half-open", "half-open>open", "open>half-open", "half-open>open", "open>half-open", "half-open>closed"}
		if !slices.Equal(states, want) {
			t.Errorf("states %q, want %q", states, want)
		}
	})
}

func TestBreakerLetsOneAttemptThrough(t *testing.T) {
	in(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most, down := 0, 0, true
		h := middleware.CircuitBreaker{Failures: 1, For: time.Minute}.Middleware(func(*message.Message) ([]*message.Message, error) {
			mu.Lock()
			running++
			most = max(most, running)
			failed := down
			mu.Unlock()
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			running--
			if failed {
				return nil, errDown
			}
			return nil, nil
		})
		if _, err := h(msg("opens it")); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		peak := func() int { mu.Lock(); defer mu.Unlock(); return most }
		most, down = 0, false
		start, done := now(), make(chan error)
		for range 5 {
			go func() {
				_, err := h(msg("waits"))
				done <- err
			}()
		}
		synctest.Wait()
		if peak() != 0 {
			t.Error("it runs while it is open")
		}
		<-time.After(time.Minute + 500*time.Millisecond) // the probe is at work
		if n := peak(); n != 1 {
			t.Errorf("%d attempts are let through, want 1", n)
		}
		for range 5 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := now().Sub(start); took > time.Minute+4*time.Second {
			t.Errorf("the others waited %v", took)
		}
	})
}

func TestBreakerCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		errs []error
		open bool
	}{
		{"five failures in a row", times(5, errDown), true},
		{"four failures", times(4, errDown), false},
		{"a success in between", append(append(times(4, errDown), nil), times(4, errDown)...), false},
		{"permanent errors, which are the message's", times(20, stateful.Permanent(errDown)), false},
		{"panics", times(5, panicking("out of paper")), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				handle, open := failing(tt.errs...), false
				h := middleware.CircuitBreaker{OnChange: func(_, _, to string) { open = open || to == "open" }}.Middleware(
					func(m *message.Message) ([]*message.Message, error) { return nil, handle(m) })
				for range tt.errs {
					h(msg("a"))
				}
				if open != tt.open {
					t.Errorf("open is %v", open)
				}
			})
		})
	}
}

func TestBreakerWaitEndsWithTheContext(t *testing.T) {
	in(t, func(t *testing.T) {
		h := middleware.CircuitBreaker{Failures: 1, For: time.Hour}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, errDown })
		h(msg("opens it"))
		m := msg("waits")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		m.SetContext(ctx)
		start := now()
		if _, err := h(m); !errors.Is(err, context.DeadlineExceeded) || now().Sub(start) != time.Minute {
			t.Errorf("after %v it returned %v", now().Sub(start), err)
		}
	})
}

func TestHandlersDoNotShareABreaker(t *testing.T) {
	in(t, func(t *testing.T) {
		c := middleware.CircuitBreaker{Failures: 1, For: time.Hour}
		c.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, errDown })(msg("a"))
		start := now()
		c.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })(msg("b"))
		if d := now().Sub(start); d != 0 {
			t.Errorf("the other handler waited %v", d)
		}
	})
}
