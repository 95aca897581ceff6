package middleware_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/stateful"
)

func TestRetryAroundAPlainHandler(t *testing.T) {
	for _, tt := range []struct {
		name  string
		retry middleware.Retry
		errs  []error
		runs  int
		err   error // that comes out, nil: none
		took  [2]time.Duration
	}{
		{"success runs once", middleware.Retry{}, nil, 1, nil, [2]time.Duration{}},
		{
			"three tries after the first, each wait twice the one before",
			middleware.Retry{},
			times(3, errDown), 4, nil,
			[2]time.Duration{350 * time.Millisecond, 700 * time.Millisecond},
		},
		{
			"then it pauses and tries every Max",
			middleware.Retry{},
			times(6, errDown), 7, nil,
			[2]time.Duration{15*time.Second + 350*time.Millisecond, 15*time.Second + 700*time.Millisecond},
		},
		{"Stop returns the error", middleware.Retry{OnExhausted: stateful.Stop}, times(9, errDown), 4, errDown, [2]time.Duration{350 * time.Millisecond, 700 * time.Millisecond}},
		{"no tries when Retries is negative", middleware.Retry{Retries: -1, OnExhausted: stateful.Stop}, times(9, errDown), 1, errDown, [2]time.Duration{}},
		{
			"a permanent error is not tried again",
			middleware.Retry{OnExhausted: stateful.Stop},
			times(9, stateful.Permanent(errDown)), 1, errDown,
			[2]time.Duration{},
		},
		{
			"what is not worth another try is permanent",
			middleware.Retry{OnExhausted: stateful.Stop, Retryable: func(err error) bool { return !errors.Is(err, errDown) }},
			times(9, errDown), 1, errDown,
			[2]time.Duration{},
		},
		{
			"a wait is no longer than Max",
			middleware.Retry{Retries: 5, Base: time.Second, Max: 2 * time.Second},
			times(5, errDown), 6, nil,
			[2]time.Duration{4500 * time.Millisecond, 9 * time.Second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				handle, runs, start := failing(tt.errs...), 0, now()
				_, err := tt.retry.Middleware(func(m *message.Message) ([]*message.Message, error) {
					runs++
					return nil, handle(m)
				})(msg("a"))
				if runs != tt.runs || !errors.Is(err, tt.err) {
					t.Errorf("%d runs and %v, want %d and %v", runs, err, tt.runs, tt.err)
				}
				if took := now().Sub(start); took < tt.took[0] || took > tt.took[1] {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestRetryKeepsTheMessageInHand(t *testing.T) {
	in(t, func(t *testing.T) {
		b := newBench(t, failing(times(2, errDown)...), middleware.Retry{}.Middleware)
		defer b.stop()
		b.publish(msg("a"))
		b.publish(msg("b"))
		if got := b.ran(); got != 4 {
			t.Errorf("the handler ran %d times, want 3 for the first message and 1 for the second", got)
		}
	})
}

// S4: without the rule the wait would hold the partition.
func TestRetryEndsItsWaitWithTheContext(t *testing.T) {
	in(t, func(t *testing.T) {
		m := msg("a")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m.SetContext(ctx)
		start := now()
		_, err := middleware.Retry{Base: time.Hour, Max: time.Hour}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, errDown })(m)
		if took := now().Sub(start); took != 20*time.Second || !errors.Is(err, errDown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v it returned %v", took, err)
		}
	})
}

func TestThirdPanicIsPermanent(t *testing.T) {
	in(t, func(t *testing.T) {
		handle, runs := failing(times(9, panicking("out of paper"))...), 0
		_, err := middleware.Retry{Retries: 100, OnExhausted: stateful.Stop}.Middleware(func(m *message.Message) ([]*message.Message, error) {
			runs++
			return nil, handle(m)
		})(msg("a"))
		var p *stateful.PanicError
		if runs != 3 || !stateful.IsPermanent(err) || !errors.As(err, &p) || len(p.Stack) == 0 {
			t.Errorf("after %d runs it returned %v", runs, err)
		}
	})
}

// What is produced is passed on, and what the caller's value was stays so.
func TestRetryPassesOnAndWritesNothingBack(t *testing.T) {
	r := middleware.Retry{}
	out, err := r.Middleware(func(*message.Message) ([]*message.Message, error) { return []*message.Message{msg("b")}, nil })(msg("a"))
	if err != nil || len(out) != 1 || r.Retries != 0 {
		t.Errorf("returned %v, %v, and Retries is %d", out, err, r.Retries)
	}
}
