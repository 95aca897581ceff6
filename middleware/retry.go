package middleware

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// Retry runs what failed again, up to Retries times after the first, waiting
// between tries: a record around stateful handlers, the message around others. It
// does not try again errors marked [stateful.Permanent], nor the third panic. The
// wait ends at once when the message's context is done, and the message is then nacked.
//
// The zero value has the defaults. It may be used for several handlers.
type Retry struct {
	// Retries is the number of tries after the first. Default 3; negative: none.
	Retries int
	// Base and Max are the first and the longest wait. It doubles with each try, and is shortened
	// at random by up to a half. Defaults 100 ms and 5 s.
	Base time.Duration
	Max  time.Duration
	// OnExhausted says what happens when the tries run out, or the error is permanent, and nothing
	// dead-letters it.
	//
	// Around stateful handlers: Pause (default), the partition waits and tries every Max,
	// and readiness says why; DeadLetter, to stateful.Config.DeadLetterTo; Stop, the
	// processor ends.
	//
	// Around other handlers: what a [DeadLetter] outside takes is returned to it. Of the rest: Pause (default), the
	// message waits and is tried every Max; DeadLetter and Stop, the error is returned, and the message nacked.
	OnExhausted stateful.Exhausted
	// Retryable reports whether an error is worth another try. Default: all but permanent
	// ones. One that is not counts as permanent.
	Retryable func(error) bool
}

func (r Retry) withDefaults() Retry {
	r.Retries = max(cmp.Or(r.Retries, 3), 0)
	r.Base = cmp.Or(r.Base, 100*time.Millisecond)
	r.Max = max(cmp.Or(r.Max, 5*time.Second), r.Base)
	return r
}

// Middleware wraps h. It starts nothing.
func (r Retry) Middleware(h message.HandlerFunc) message.HandlerFunc {
	r = r.withDefaults()
	policy := stateful.Retry{Retries: r.Retries, Base: r.Base, Max: r.Max, OnExhausted: r.OnExhausted, Retryable: r.Retryable}
	return forEnvelopes(h, r.plain(h), func(p *stateful.Policy) { p.Retry = &policy })
}

func (r Retry) plain(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		panics := 0
		for try := 1; ; try++ {
			out, err := guard(h, msg)
			if err == nil {
				return out, nil
			}
			ctx := msg.Context()
			if ctx.Err() != nil {
				return nil, err
			}
			if isPanic(err) {
				panics++
			}
			if panics >= panicsAreFinal || r.Retryable != nil && !r.Retryable(err) {
				err = stateful.Permanent(err)
			}
			wait := stateful.Backoff(try, r.Base, r.Max)
			if permanent := stateful.IsPermanent(err); permanent || try > r.Retries {
				if !permanent && r.OnExhausted == stateful.DeadLetter {
					err = &exhaustedError{err, try}
				}
				take := stateful.PolicyFrom(ctx).DeadLetter
				if r.OnExhausted != stateful.Pause || take != nil && take(err) {
					return nil, err
				}
				wait = r.Max
			}
			if clock.Sleep(ctx, wait) != nil {
				return nil, errors.Join(err, context.Cause(ctx))
			}
		}
	}
}

// panicsAreFinal is the same as in the processor.
const panicsAreFinal = 3
