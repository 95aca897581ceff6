package middleware

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/sony/gobreaker/v2"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// CircuitBreaker keeps attempts away from something that is down. After Failures attempts that failed in a row
// it opens; after For it lets one attempt through, and closes when that succeeds. While it is open deliveries
// wait: they are not nacked, no attempt is counted, and nothing times out (F1). The wait ends with the
// message's context.
//
// Each handler it wraps has a breaker of its own, shared by the handler's partitions. It belongs inside
// [Retry]. The zero value has the defaults.
type CircuitBreaker struct {
	// Failures in a row open it. Default 5.
	Failures uint32
	// For is how long it stays open before it lets one attempt through. Default 10 s.
	For time.Duration
	// Name is what OnChange is told.
	Name string
	// Failure reports whether err says that something is down. Default: all errors but those marked
	// [stateful.Permanent], which are the message's fault; they count neither as failure nor as success.
	Failure func(err error) bool
	// OnChange is told when the breaker opens, lets an attempt through, and closes: with
	// the states "closed", "open" and "half-open". It must not block. Default: nobody is told.
	OnChange func(name, from, to string)
}

func (c CircuitBreaker) withDefaults() CircuitBreaker {
	c.Failures = cmp.Or(c.Failures, 5)
	if c.For <= 0 {
		c.For = 10 * time.Second
	}
	if c.Failure == nil {
		c.Failure = func(err error) bool { return !stateful.IsPermanent(err) }
	}
	if c.OnChange == nil {
		c.OnChange = func(string, string, string) {}
	}
	return c
}

// Middleware wraps h with a breaker of its own. It starts nothing.
func (c CircuitBreaker) Middleware(h message.HandlerFunc) message.HandlerFunc {
	b := newBreaker(c.withDefaults())
	plain := func(msg *message.Message) ([]*message.Message, error) {
		for {
			done, wait := b.Allow()
			if done != nil {
				out, err := guard(h, msg)
				if msg.Context().Err() != nil {
					done(stateful.ErrNoOutcome)
				} else {
					done(err)
				}
				return out, err
			}
			if clock.Sleep(msg.Context(), wait) != nil {
				return nil, context.Cause(msg.Context())
			}
		}
	}
	return forEnvelopes(h, plain, func(p *stateful.Policy) { p.Breaker = b })
}

// breaker is a [stateful.Breaker].
type breaker struct {
	cb *gobreaker.TwoStepCircuitBreaker[struct{}]
	c  CircuitBreaker

	mu     sync.Mutex
	opened time.Time // last
}

func newBreaker(c CircuitBreaker) *breaker {
	b := &breaker{c: c}
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: c.Name, MaxRequests: 1, Timeout: c.For,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.Failures },
		IsExcluded:  func(err error) bool { return err != nil && (errors.Is(err, stateful.ErrNoOutcome) || !c.Failure(err)) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				b.mu.Lock()
				b.opened = now()
				b.mu.Unlock()
			}
			c.OnChange(name, from.String(), to.String())
		},
	})
	return b
}

// Allow implements [stateful.Breaker].
func (b *breaker) Allow() (done func(error), wait time.Duration) {
	done, err := b.cb.Allow()
	switch {
	case err == nil:
		return done, 0
	case errors.Is(err, gobreaker.ErrOpenState):
		b.mu.Lock()
		defer b.mu.Unlock()
		// A moment longer: it is open until its time has passed.
		return nil, max(b.opened.Add(b.c.For).Sub(now()), 0) + time.Millisecond
	default: // another attempt is the one let through
		return nil, min(max(b.c.For/20, time.Millisecond), time.Second)
	}
}
