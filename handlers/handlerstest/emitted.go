package handlerstest

import (
	"strconv"

	"github.com/pondage/pondage/stateful"
)

// Emitted returns the payloads in a topic, in order of partition and place: with
// JSON, lines.
func (d *Driver) Emitted(topic string) []string {
	var out []string
	for _, rec := range d.broker.topic(topic) {
		out = append(out, string(rec.Value))
	}
	return out
}

// Records returns the records in a topic, in order of partition and place. They are
// the kit's and must not be changed.
func (d *Driver) Records(topic string) []stateful.Record { return d.broker.topic(topic) }

// DeadLetter is a record, or a firing, that failed for good.
type DeadLetter struct {
	Handler string
	Topic   string // empty for a firing
	Offset  int64  // in its partition
	Key     string
	Value   string
	Reason  string
	Time    string // of a firing, RFC 3339
	Record  stateful.Record
}

// DeadLetters returns what failed for good, in order.
func (d *Driver) DeadLetters() []DeadLetter {
	var out []DeadLetter
	for _, rec := range d.broker.topic(d.deadLetters) {
		l := DeadLetter{Key: string(rec.Key), Value: string(rec.Value), Record: rec}
		l.Handler, _ = rec.Header(stateful.DeadLetterHandler)
		l.Topic, _ = rec.Header(stateful.DeadLetterTopic)
		l.Reason, _ = rec.Header(stateful.DeadLetterReason)
		l.Time, _ = rec.Header(stateful.DeadLetterTime)
		if s, ok := rec.Header(stateful.DeadLetterOffset); ok {
			l.Offset, _ = strconv.ParseInt(s, 10, 64)
		}
		out = append(out, l)
	}
	return out
}
