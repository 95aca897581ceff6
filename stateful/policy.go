package stateful

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Policy says what happens to a record that fails. Middlewares set it in an
// envelope's context and the processor applies it to every attempt (T2).
type Policy struct {
	// Retry is applied to errors that are not permanent. Without it such an error
	// gives the envelope back to its source, which delivers it again.
	Retry *Retry
	// Breaker sees every attempt.
	Breaker Breaker
	// DeadLetter reports whether a record that failed with err for good goes to
	// the dead-letter topic. The default takes permanent errors, and all others
	// when Retry says so.
	DeadLetter func(err error) bool
}

// Retry is how often and after which wait a record is tried again.
type Retry struct {
	Retries     int // after the first try
	Base, Max   time.Duration
	OnExhausted Exhausted
	// Retryable reports whether err is worth another try; nil: all are but permanent ones.
	Retryable func(err error) bool
}

// Exhausted is what happens when the retries run out.
type Exhausted int

// The answers.
const (
	// Pause makes the partition wait and try the record every Max; readiness says why.
	Pause Exhausted = iota
	// DeadLetter sends the record to the dead-letter topic.
	DeadLetter
	// Stop ends the processor with the error.
	Stop
)

// Breaker keeps attempts away from something that is down. It may be used by
// several goroutines.
type Breaker interface {
	// Allow returns either how long to wait before asking again, or done, to be called
	// once with the outcome of the attempt: nil, the handler's error, or
	// [ErrNoOutcome]. A wait is no attempt (F1).
	Allow() (done func(error), wait time.Duration)
}

// ErrNoOutcome is what a [Breaker] is told of an attempt that says nothing about the
// handler: it was cut short, or the task's store failed. It counts neither as
// success nor as failure.
var ErrNoOutcome = errors.New("stateful: the attempt has no outcome")

// WithPolicy returns a context whose policy is that of ctx changed by f.
func WithPolicy(ctx context.Context, f func(*Policy)) context.Context {
	c := &envelopeContext{Context: ctx}
	if outer := envelopeOf(ctx); outer != nil {
		c.batch, c.policy = outer.batch, outer.policy
	}
	f(&c.policy)
	return c
}

// PolicyFrom returns the policy in ctx, the zero Policy when there is none.
func PolicyFrom(ctx context.Context) Policy {
	if c := envelopeOf(ctx); c != nil {
		return c.policy
	}
	return Policy{}
}

// Backoff returns how long to wait before try n, counted from 1 for the first
// one after a failure: base * 2^(n-1), at most limit, and of that a random half to
// the whole, so that many that failed together do not come back together.
func Backoff(n int, base, limit time.Duration) time.Duration {
	d := limit
	if n < 32 && base<<(n-1) < limit && base<<(n-1)>>(n-1) == base {
		d = base << (n - 1)
	}
	if d <= 0 {
		return 0
	}
	return d/2 + rand.N(d/2+1)
}

// The back-off after failures of a task, and after panics.
const (
	taskBackoffBase = 100 * time.Millisecond
	taskBackoffMax  = 5 * time.Second
	panicsAreFinal  = 3
)
