// Package clock is where packages that wait meet the wall clock.
package clock

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx is done and then returns its error. It may be called by
// several goroutines.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
