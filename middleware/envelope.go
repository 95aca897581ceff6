package middleware

import (
	"errors"
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// forEnvelopes returns a handler that runs plain for ordinary messages. For
// envelopes it sets the policy and runs h. A message that says it is an envelope and
// lost its batch is refused by all (T5).
func forEnvelopes(h, plain message.HandlerFunc, set func(*stateful.Policy)) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		if _, ok := stateful.BatchFrom(ctx); ok {
			msg.SetContext(stateful.WithPolicy(ctx, set))
			return h(msg)
		}
		if msg.Metadata.Get(stateful.EnvelopeKey) != "" {
			return nil, stateful.ErrContextLost
		}
		return plain(msg)
	}
}

// guard runs h and turns a panic into an error.
func guard(h message.HandlerFunc, msg *message.Message) (out []*message.Message, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, &stateful.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return h(msg)
}

// isPanic reports whether err is a panic.
func isPanic(err error) bool {
	var p *stateful.PanicError
	return errors.As(err, &p)
}

// exhaustedError is a failure whose retries ran out, on its way to a [DeadLetter].
type exhaustedError struct {
	err   error
	tries int
}

func (e *exhaustedError) Error() string { return e.err.Error() }
func (e *exhaustedError) Unwrap() error { return e.err }
