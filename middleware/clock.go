package middleware

import (
	"context"
	"time"
)

// sleep waits for d or until ctx is done, and then returns the cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func now() time.Time { return time.Now() }
