package middleware_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/middleware"
	"github.com/pondage/pondage/stateful"
)

// letters is a publisher of dead letters that fails the first times.
type letters struct {
	fails int
	got   []*message.Message
}

func (l *letters) Publish(topic string, msgs ...*message.Message) error {
	if l.fails > 0 {
		l.fails--
		return errDown
	}
	for _, m := range msgs {
		m.Metadata.Set("to", topic)
		l.got = append(l.got, m)
	}
	return nil
}

func (l *letters) Close() error { return nil }

func TestDeadLetterAroundAPlainHandler(t *testing.T) {
	permanent := stateful.Permanent(fmt.Errorf("decode: %w", errDown))
	for _, tt := range []struct {
		name  string
		dead  middleware.DeadLetter
		retry middleware.Retry
		errs  []error
		runs  int
		taken bool
		tries string
	}{
		{"takes what is permanent", middleware.DeadLetter{}, middleware.Retry{}, []error{permanent}, 1, true, ""},
		{"takes what ran out of tries, when Retry says so", middleware.DeadLetter{}, middleware.Retry{OnExhausted: stateful.DeadLetter}, times(4, errDown), 4, true, "4"},
		{"leaves what Retry pauses for", middleware.DeadLetter{}, middleware.Retry{}, times(6, errDown), 7, false, ""},
		{"takes what it is told to", middleware.DeadLetter{Take: func(err error) bool { return errors.Is(err, errDown) }}, middleware.Retry{}, times(4, errDown), 4, true, ""},
		{"leaves what it is told to", middleware.DeadLetter{Take: func(error) bool { return false }}, middleware.Retry{}, []error{permanent}, 2, false, ""},
		{"takes the third panic", middleware.DeadLetter{}, middleware.Retry{}, times(3, panicking("out of paper")), 3, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				l := &letters{}
				tt.dead.Publisher, tt.dead.Topic = l, "dead"
				b := newBench(t, failing(tt.errs...), tt.dead.Middleware, tt.retry.Middleware)
				defer b.stop()
				m := msg("a")
				m.Metadata.Set("h", "x")
				b.publish(m)
				if b.ran() != tt.runs || len(l.got) > 0 != tt.taken {
					t.Fatalf("%d runs and %d letters, want %d and %v", b.ran(), len(l.got), tt.runs, tt.taken)
				}
				if !tt.taken {
					return
				}
				letter := l.got[0]
				meta := letter.Metadata
				if letter.UUID != "id-a" || string(letter.Payload) != "a" || meta["h"] != "x" || meta["to"] != "dead" {
					t.Errorf("the letter is %v", letter)
				}
				if meta[stateful.DeadLetterReason] == "" || meta[stateful.DeadLetterHandler] != "bench" || meta[stateful.DeadLetterTopic] != "in" || meta[stateful.DeadLetterTries] != tt.tries {
					t.Errorf("the letter says %v", meta)
				}
				if strings.Contains(tt.name, "panic") != (meta[stateful.DeadLetterStack] != "") {
					t.Errorf("the stack is %q", meta[stateful.DeadLetterStack])
				}
			})
		})
	}
}

func TestMessageIsNackedWhenItsLetterCannotBePublished(t *testing.T) {
	in(t, func(t *testing.T) {
		l := &letters{fails: 2}
		b := newBench(t, failing(times(9, stateful.Permanent(errDown))...), middleware.DeadLetter{Publisher: l, Topic: "dead"}.Middleware)
		defer b.stop()
		b.publish(msg("a"))
		if b.ran() != 3 || len(l.got) != 1 {
			t.Errorf("%d runs and %d letters, want the message delivered until its letter is out", b.ran(), len(l.got))
		}
	})
}

func TestDeadLetterWithoutATopicSaysSo(t *testing.T) {
	h := middleware.DeadLetter{Publisher: &letters{}}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, stateful.Permanent(errDown) })
	if _, err := h(msg("a")); !errors.Is(err, errDown) || !strings.Contains(err.Error(), "Topic") {
		t.Errorf("it returned %v", err)
	}
	h = middleware.DeadLetter{}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, stateful.Permanent(errDown) })
	if _, err := h(msg("a")); !errors.Is(err, errDown) {
		t.Errorf("without a publisher it returned %v", err)
	}
}

// Around an envelope they say what is to happen and do nothing: one run, one error.
func TestEnvelopesAreOnlyToldThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := func(error) bool { return true }
		var got stateful.Policy
		runs := 0
		var h message.HandlerFunc = func(m *message.Message) ([]*message.Message, error) {
			runs++
			got = stateful.PolicyFrom(m.Context())
			return nil, stateful.Permanent(errDown)
		}
		l := &letters{}
		for _, mw := range []message.HandlerMiddleware{
			middleware.CircuitBreaker{}.Middleware, middleware.Retry{Retries: 7}.Middleware, middleware.DeadLetter{Take: take, Publisher: l, Topic: "dead"}.Middleware,
		} {
			h = mw(h)
		}
		start := now()
		_, err := h(stateful.NewEnvelope(t.Context(), &stateful.Batch{Records: make([]stateful.Record, 3)}))
		if runs != 1 || !errors.Is(err, errDown) || len(l.got) != 0 || now() != start {
			t.Errorf("%d runs, %v, %d letters", runs, err, len(l.got))
		}
		if got.Retry == nil || got.Retry.Retries != 7 || got.Retry.Base == 0 || got.Retry.Max == 0 || got.Breaker == nil || got.DeadLetter == nil {
			t.Errorf("the policy is %+v", got)
		}
	})
}

// T5: its payload is empty, so to retry or to dead-letter it would lose its records.
func TestEnvelopeThatLostItsBatchIsRefused(t *testing.T) {
	l := &letters{}
	for name, mw := range map[string]message.HandlerMiddleware{
		"Retry": middleware.Retry{}.Middleware, "CircuitBreaker": middleware.CircuitBreaker{}.Middleware,
		"DeadLetter": middleware.DeadLetter{Take: func(error) bool { return true }, Publisher: l, Topic: "dead"}.Middleware,
	} {
		runs := 0
		h := mw(func(*message.Message) ([]*message.Message, error) { runs++; return nil, errDown })
		lost := stateful.NewEnvelope(t.Context(), &stateful.Batch{Records: make([]stateful.Record, 3)}).Copy()
		if _, err := h(lost); !errors.Is(err, stateful.ErrContextLost) || runs != 0 || len(l.got) != 0 {
			t.Errorf("%s: %v after %d runs, and %d letters", name, err, runs, len(l.got))
		}
	}
}
