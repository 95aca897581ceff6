package handlers

import (
	"errors"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// checkTime refuses event times that windows and results could not show.
func checkTime(ts int64) error {
	switch {
	case ts == stateful.NoTime:
		return stateful.Permanent(errors.New("the record has no time of its own: set Time"))
	case ts == minTime:
		return stateful.Permanent(errors.New("the event's time is the zero time.Time: it was never set"))
	case ts < minTime || ts >= maxTime:
		return stateful.Permanent(fmt.Errorf("the event's time is outside the years 1 to 9999: %d ms since 1970", ts))
	}
	return nil
}
