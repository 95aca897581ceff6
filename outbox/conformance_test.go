package outbox_test

import (
	"testing"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/outbox/outboxtest"
	"github.com/pondage/pondage/stateful"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	outboxtest.TestSink(t, func(*testing.T) outboxtest.Subject {
		m := outbox.NewMemory()
		return outboxtest.Subject{
			Topic:     "out",
			Open:      func(*testing.T) outbox.Sink { m = m.Reopen(); return m },
			Published: func(*testing.T) []string { return texts(m.Rows("out")) },
		}
	})
}

func TestPublisherKeepsTheContract(t *testing.T) {
	outboxtest.TestSink(t, func(*testing.T) outboxtest.Subject {
		rec := &recorder{}
		return outboxtest.Subject{
			Topic: "out",
			Open: func(*testing.T) outbox.Sink {
				return outbox.Publisher(rec, outbox.PublisherConfig{MaxBytes: 10})
			},
			Published: func(*testing.T) []string {
				var all []string
				for _, m := range rec.msgs {
					all = append(all, string(m.Payload))
				}
				return all
			},
			TooLarge: func() stateful.Row { return stateful.Row{Topic: "out", Payload: make([]byte, 11)} },
		}
	})
}

func TestASinkThatPreparesKeepsTheContract(t *testing.T) {
	outboxtest.TestSink(t, func(*testing.T) outboxtest.Subject {
		b := newBank("bank")
		return outboxtest.Subject{
			Topic:     "out",
			Open:      func(*testing.T) outbox.Sink { b.Memory = b.Reopen(); return b },
			Published: func(*testing.T) []string { return texts(b.Rows("out")) },
			Prepared:  func(*testing.T) int { return len(b.reserved) },
		}
	})
}

func texts(rows []stateful.Row) []string {
	var all []string
	for i := range rows {
		all = append(all, string(rows[i].Payload))
	}
	return all
}
