// Package demo is the command pondage demo: flights in, hourly windows per airport
// out, on the embedded log.
package demo

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/pondage/pondage/pubsub/embedded"
)

// The values of [Options].
const (
	Pebble = "pebble"
	Memory = "memory"
	Table  = "table"
	JSON   = "json"

	Tumbling = "tumbling"
	Sliding  = "sliding"
	Sessions = "sessions"
)

// Options are the flags of the command.
type Options struct {
	Input      string // a file, "-" for standard input, "" for the built-in week
	DataDir    string // "" for a fresh temporary one
	Partitions int
	MaxDelay   time.Duration
	Backend    string // Pebble or Memory
	Kill       int
	Output     string  // Table or JSON
	Show       string  // Tumbling, Sliding or Sessions
	Rate       float64 // flights per second, 0 for no limit
}

// Streams are where the command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Terminal bool // Err is one
}

// The exit codes besides 0.
const (
	CodeFailed      = 1
	CodeRefused     = 2
	CodeInterrupted = 130
)

// ExitError is an error with the exit code it asks for.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// Refuse marks err as found before anything was read. It returns nil for nil.
func Refuse(err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{CodeRefused, err}
}

const stdin = "-"

func (o Options) validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(o.Partitions < 1 || o.Partitions > embedded.MaxPartitions, "--partitions is %d, want 1 to %d", o.Partitions, embedded.MaxPartitions)
	fault(o.MaxDelay < 0, "--max-delay is %s, want 0 or more", o.MaxDelay)
	fault(o.MaxDelay%time.Millisecond != 0, "--max-delay is %s, want whole milliseconds", o.MaxDelay)
	fault(o.Backend != Pebble && o.Backend != Memory, "--backend is %q, want %s or %s", o.Backend, Pebble, Memory)
	fault(o.Kill < 0, "--kill is %d, want 0 or more", o.Kill)
	fault(o.Output != Table && o.Output != JSON, "--output is %q, want %s or %s", o.Output, Table, JSON)
	fault(viewOf(o.Show) == nil, "--show is %q, want %s, %s or %s", o.Show, Tumbling, Sliding, Sessions)
	fault(math.IsNaN(o.Rate) || math.IsInf(o.Rate, 0) || o.Rate < 0, "--rate is %v, want 0 (no limit) or more", o.Rate)
	return errors.Join(errs...)
}
