package embedded

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

const (
	// KeyMetadata is the metadata of a Watermill message that is its record's key.
	KeyMetadata = "pondage_key"
	// uuidHeader is the header that keeps a Watermill message's UUID.
	uuidHeader = stateful.UUIDHeader
)

func keyFromMetadata(m *message.Message) []byte {
	if k, ok := m.Metadata[KeyMetadata]; ok {
		return []byte(k)
	}
	return nil
}

type publisher struct {
	l      *Log
	closed atomic.Bool
}

// Publisher returns a Watermill publisher. The messages of one Publish are one
// append: all or none, durable when it returns. A message's key is what
// Config.KeyFrom says, its UUID and metadata become headers, its time is that of the append. The records of an
// envelope are published as they are; an envelope that lost its batch is refused with
// stateful.ErrContextLost (T5). Publishing waits for room until the first message's context ends.
//
// Closing the publisher does not close the log.
func (l *Log) Publisher() message.Publisher { return &publisher{l: l} }

func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("embedded: publisher: %w", stateful.ErrClosed)
	}
	records := make([]stateful.Record, 0, len(messages))
	for _, m := range messages {
		if m.Metadata[stateful.EnvelopeKey] == "" {
			records = append(records, p.l.toRecord(m))
			continue
		}
		b, ok := stateful.BatchFrom(m.Context())
		if !ok {
			return stateful.ErrContextLost
		}
		records = append(records, b.Records...)
	}
	ctx := context.Background()
	if len(messages) > 0 {
		ctx = messages[0].Context()
	}
	return p.l.Append(ctx, topic, records...)
}

func (p *publisher) Close() error {
	p.closed.Store(true)
	return nil
}

func (l *Log) toRecord(m *message.Message) stateful.Record {
	headers := make([]stateful.Header, 0, len(m.Metadata)+1)
	headers = append(headers, stateful.Header{Key: uuidHeader, Value: m.UUID})
	for k, v := range m.Metadata {
		if k != KeyMetadata {
			headers = append(headers, stateful.Header{Key: k, Value: v})
		}
	}
	slices.SortFunc(headers[1:], func(a, b stateful.Header) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return stateful.Record{Key: l.c.KeyFrom(m), Value: m.Payload, Headers: headers, Time: stateful.NoTime}
}

// toMessage copies r: the message may be kept for as long as its receiver likes. Of headers
// of one name the last one counts.
func (p *partition) toMessage(r *stateful.Record) *message.Message {
	var uuid string
	meta := make(message.Metadata, len(r.Headers)+1)
	for _, h := range r.Headers {
		if h.Key == uuidHeader {
			uuid = h.Value
		} else {
			meta[h.Key] = h.Value
		}
	}
	if r.Key != nil {
		meta[KeyMetadata] = string(r.Key)
	}
	if uuid == "" {
		uuid = fmt.Sprintf("%s/%d/%d", p.t.name, p.index, r.Offset)
	}
	m := message.NewMessage(uuid, slices.Clone(r.Value)) // without a value it has no payload
	m.Metadata = meta
	return m
}
