package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// guard is around every call of the server: retries outside, one breaker inside.
type guard struct {
	retries   int
	base, max time.Duration
	breaker   *gobreaker.CircuitBreaker[struct{}]
	openFor   time.Duration
	mu        sync.Mutex
	last      error // failure of the server
}

// errAway is what calls get while the breaker is open.
var errAway = errors.New("the server is away")

func newGuard(c Config) *guard {
	g := &guard{retries: c.Retries, base: c.RetryBase, max: c.RetryMax, openFor: c.BreakerFor}
	g.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1, Timeout: c.BreakerFor,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.BreakerFailures },
		IsSuccessful: func(err error) bool { return !isAway(err) },
		IsExcluded:   isContext,
		OnStateChange: func(_ string, from, to gobreaker.State) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if to == gobreaker.StateClosed {
				c.Logger.Info("redis: the server is back")
			} else if from == gobreaker.StateClosed {
				c.Logger.Warn("redis: calls are held back: the server does not answer", "after", c.BreakerFailures, "for", c.BreakerFor)
			}
		},
	})
	return g
}

// once calls f under the breaker.
func (g *guard) once(f func() error) error {
	_, err := g.breaker.Execute(func() (struct{}, error) {
		err := f()
		if isAway(err) {
			g.mu.Lock()
			g.last = err
			g.mu.Unlock()
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return fmt.Errorf("%w, one call in %v finds out whether it is back; it failed last with: %w", errAway, g.openFor, g.last)
	}
	return err
}

// again calls f, which may safely be repeated, until it succeeds, fails for a reason that a
// repetition does not cure, or the tries ran out.
func (g *guard) again(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := g.once(f)
		if try > g.retries || !isTransient(err) {
			return err
		}
		if g.wait(ctx, try) != nil {
			return err
		}
	}
}

// wait waits before a repetition.
func (g *guard) wait(ctx context.Context, try int) error {
	return clock.Sleep(ctx, stateful.Backoff(try, g.base, g.max))
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isAway reports whether err says that the server cannot be reached or does not work.
func isAway(err error) bool {
	return isNetwork(err) || hasPrefix(err, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS")
}

// isTransient reports whether a repetition may cure err. What a script says is never transient.
func isTransient(err error) bool {
	return !errors.Is(err, errAway) && (isAway(err) || isCrowded(err))
}

// isCrowded reports whether a server that works refused a call for the moment.
func isCrowded(err error) bool {
	return hasPrefix(err, "TRYAGAIN", "max number of clients") || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrPoolExhausted)
}

// isUnsent reports whether a call that failed with err was certainly not carried out.
func isUnsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, errAway) || isCrowded(err) ||
		hasPrefix(err, "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "OOM", "MISCONF", "NOAUTH", "NOPERM", "BUSY", "NOSCRIPT")
}

func isNetwork(err error) bool {
	var n net.Error
	switch {
	case err == nil || isReply(err):
		return false
	case errors.As(err, &n): // also a deadline of the context: isContext is asked first where that matters
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isReply reports whether err is what the server answered.
func isReply(err error) bool {
	var r goredis.Error
	return errors.As(err, &r)
}

func hasPrefix(err error, prefixes ...string) bool {
	for _, p := range prefixes {
		if goredis.HasErrorPrefix(err, p) {
			return true
		}
	}
	return false
}
