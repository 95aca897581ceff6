package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// ErrAway is what calls get while the breaker is open.
var ErrAway = errors.New("the server is away")

// GuardConfig configures a [Guard]. All is required.
type GuardConfig struct {
	// Name begins what is logged.
	Name string
	// Retries is how often a call that may be repeated is, after the first; Base and Max bound the waits
	// between, see [stateful.Backoff].
	Retries   int
	Base, Max time.Duration
	// BreakerFailures in a row hold all calls back for BreakerFor; then one is let through.
	BreakerFailures uint32
	BreakerFor      time.Duration
	// IsAway reports whether an error says that the server cannot be reached or does not work.
	IsAway func(error) bool
	// IsCrowded reports whether a server that works refused a call for the moment.
	IsCrowded func(error) bool
	Logger    *slog.Logger
}

// Guard is around every call of a server: retries outside, one breaker inside. It may be used by
// several goroutines.
type Guard struct {
	c       GuardConfig
	breaker *gobreaker.CircuitBreaker[struct{}]
	mu      sync.Mutex
	last    error // failure of the server
}

// NewGuard returns a guard whose breaker is closed.
func NewGuard(c GuardConfig) *Guard {
	g := &Guard{c: c}
	g.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1, Timeout: c.BreakerFor,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.BreakerFailures },
		IsSuccessful: func(err error) bool { return !c.IsAway(err) },
		IsExcluded:   isContext,
		OnStateChange: func(_ string, from, to gobreaker.State) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if to == gobreaker.StateClosed {
				c.Logger.Info(c.Name + ": the server is back")
			} else if from == gobreaker.StateClosed {
				c.Logger.Warn(c.Name+": calls are held back: the server does not answer", "after", c.BreakerFailures, "for", c.BreakerFor)
			}
		},
	})
	return g
}

// Once calls f under the breaker.
func (g *Guard) Once(f func() error) error {
	_, err := g.breaker.Execute(func() (struct{}, error) {
		err := f()
		if g.c.IsAway(err) {
			g.mu.Lock()
			g.last = err
			g.mu.Unlock()
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return fmt.Errorf("%w, one call in %v finds out whether it is back; it failed last with: %w", ErrAway, g.c.BreakerFor, g.last)
	}
	return err
}

// Again calls f, which may safely be repeated, until it succeeds, fails for a reason that a
// repetition does not cure, or the tries ran out.
func (g *Guard) Again(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := g.Once(f)
		if !g.More(err, try) || g.Wait(ctx, try) != nil {
			return err
		}
	}
}

// More reports whether a try that failed with err may be followed by another, where the call may be
// repeated at all. The first try is 1.
func (g *Guard) More(err error, try int) bool {
	return try <= g.c.Retries && !errors.Is(err, ErrAway) && (g.c.IsAway(err) || g.c.IsCrowded(err))
}

// Wait waits before a repetition of a try.
func (g *Guard) Wait(ctx context.Context, try int) error {
	return clock.Sleep(ctx, stateful.Backoff(try, g.c.Base, g.c.Max))
}

// Retry returns how calls of the key-value API are made again: those that may be, and others when isUnsent says of their
// failure that they were not carried out.
func (g *Guard) Retry(isUnsent func(error) bool) func(ctx context.Context, n int, repeatable bool, err error) error {
	return func(ctx context.Context, n int, repeatable bool, err error) error {
		if !g.More(err, n) || !repeatable && !isUnsent(err) || ctx.Err() != nil {
			return err
		}
		return g.Wait(ctx, n)
	}
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
