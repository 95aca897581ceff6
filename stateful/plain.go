package stateful

import "github.com/ThreeDotsLabs/watermill/message"

// plainMessage is all that a message of a stock subscriber gets on its way, in one piece of memory.
type plainMessage struct {
	ctx     envelopeContext
	batch   Batch
	ticket  ticket
	records [1]Record
	key     [24]byte // of most, and nothing more to allocate
}

// plain makes a message of a stock subscriber a batch of one.
func (in *intake) plain(topic string, msg *message.Message) *Batch {
	m := &plainMessage{}
	m.records[0] = Record{
		Key:   append(m.key[:0], msg.Metadata.Get(in.p.cfg.KeyFrom)...),
		Value: msg.Payload,
		ID:    msg.UUID,
		Time:  in.p.cfg.Now().UnixMilli(),
	}
	if len(msg.Metadata) > 0 {
		headers := make([]Header, 0, len(msg.Metadata))
		for k, v := range msg.Metadata {
			headers = append(headers, Header{k, v})
		}
		m.records[0].Headers = headers
	}
	m.batch = Batch{Partition: Partition{Topic: topic}, Records: m.records[:], ticket: &m.ticket}
	m.ctx = envelopeContext{msg.Context(), &m.batch, PolicyFrom(msg.Context())}
	msg.SetContext(&m.ctx)
	return &m.batch
}
