package middleware

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// DeadLetter says which failures go to the dead-letter topic. It belongs outside
// [Retry], so that it sees what failed for good.
//
// Around stateful handlers the topic is stateful.Config.DeadLetterTo: the record goes there in
// its own transaction and the batch goes on without it. Publisher and Topic are only for
// other handlers: there the message is published, with its UUID, its metadata and the reason, and then acked. When
// publishing fails the message is nacked. The zero value takes what is described at Take.
type DeadLetter struct {
	// Take reports whether a failure goes there. Default: errors marked [stateful.Permanent], and those
	// whose retries ran out when [Retry] says DeadLetter.
	Take func(err error) bool
	// Publisher and Topic are where messages of other handlers go. Without them failures of such
	// handlers are returned as they are. The publisher is not closed.
	Publisher message.Publisher
	Topic     string
}

// Middleware wraps h. It starts nothing.
func (d DeadLetter) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return forEnvelopes(h, d.plain(h), func(p *stateful.Policy) {
		if d.Take != nil {
			p.DeadLetter = d.Take
		}
	})
}

func (d DeadLetter) plain(h message.HandlerFunc) message.HandlerFunc {
	if d.Publisher == nil && d.Topic == "" {
		return h
	}
	take := d.Take
	if take == nil {
		take = func(err error) bool {
			var e *exhaustedError
			return stateful.IsPermanent(err) || errors.As(err, &e)
		}
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		// Retry, inside, asks it whether to give up.
		msg.SetContext(stateful.WithPolicy(msg.Context(), func(p *stateful.Policy) { p.DeadLetter = take }))
		out, err := h(msg)
		if err == nil || msg.Context().Err() != nil || !take(err) {
			return out, err
		}
		if failed := d.publish(msg, err); failed != nil {
			return nil, errors.Join(err, fmt.Errorf("middleware: publish to the dead-letter topic %q: %w", d.Topic, failed))
		}
		return nil, nil
	}
}

func (d DeadLetter) publish(msg *message.Message, cause error) error {
	if d.Publisher == nil || d.Topic == "" {
		return errors.New("DeadLetter needs both Publisher and Topic for handlers that are not stateful")
	}
	letter := msg.CopyWithContext()
	meta := letter.Metadata
	meta.Set(stateful.DeadLetterReason, cause.Error())
	if name := message.HandlerNameFromCtx(msg.Context()); name != "" {
		meta.Set(stateful.DeadLetterHandler, name)
	}
	if topic := message.SubscribeTopicFromCtx(msg.Context()); topic != "" {
		meta.Set(stateful.DeadLetterTopic, topic)
	}
	var e *exhaustedError
	if errors.As(cause, &e) {
		meta.Set(stateful.DeadLetterTries, strconv.Itoa(e.tries))
	}
	var p *stateful.PanicError
	if errors.As(cause, &p) {
		meta.Set(stateful.DeadLetterStack, string(p.Stack))
	}
	return d.Publisher.Publish(d.Topic, letter)
}
