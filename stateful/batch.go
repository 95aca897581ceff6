package stateful

import (
	"context"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
)

// EnvelopeKey is the metadata key that marks a message as an envelope; its value
// is the number of records. An envelope's payload is empty.
const EnvelopeKey = "pondage_batch"

// Batch is a run of consecutive records of one partition, carried by one
// Watermill message: the envelope.
//
// From a source with positions it covers the offsets [Start, End) of the log,
// and End of one batch is Start of the next, whether or not every offset holds
// a record (compaction and transaction markers leave gaps). The processor
// drops what lies below its own position and refuses a batch that begins above
// it, so that a gap can never be skipped over. A source without positions
// leaves Log empty; its records are told apart by Record.ID.
type Batch struct {
	Partition Partition
	Log       string
	Start     int64
	End       int64
	Records   []Record
	// EndOfInput says that the partition is finished: nothing follows this batch,
	// ever. It moves the input's watermark to the end of time.
	EndOfInput bool

	task   *Task // that the ticket is of
	ticket *ticket
	tick   bool
}

// NewEnvelope returns a message that carries b. The message's context descends
// from ctx; its payload is empty and its UUID is built from the batch's place,
// so that it costs no random number.
func NewEnvelope(ctx context.Context, b *Batch) *message.Message {
	msg := message.NewMessage(b.Partition.Topic+"/"+strconv.Itoa(int(b.Partition.Index))+"/"+strconv.FormatInt(b.Start, 10), nil)
	msg.Metadata[EnvelopeKey] = strconv.Itoa(len(b.Records))
	msg.SetContext(WithBatch(ctx, b))
	return msg
}

// envelopeContext is the context of an envelope: it carries the batch, and what middlewares say
// about it. Both are in one so that middlewares and processor, who ask again and again, find
// them at once.
type envelopeContext struct {
	context.Context
	batch  *Batch
	policy Policy
}

type envelopeKey struct{}

// Value implements [context.Context].
func (c *envelopeContext) Value(key any) any {
	if _, ok := key.(envelopeKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// envelopeOf returns what ctx carries, nil for nothing.
func envelopeOf(ctx context.Context) *envelopeContext {
	if c, ok := ctx.(*envelopeContext); ok {
		return c
	}
	c, _ := ctx.Value(envelopeKey{}).(*envelopeContext)
	return c
}

// WithBatch returns a context that carries b.
func WithBatch(ctx context.Context, b *Batch) context.Context {
	return &envelopeContext{ctx, b, PolicyFrom(ctx)}
}

// BatchFrom returns the batch in ctx, and whether there is one. Middlewares use
// it to see an envelope's records; they must not change them.
func BatchFrom(ctx context.Context) (*Batch, bool) {
	if c := envelopeOf(ctx); c != nil && c.batch != nil {
		return c.batch, true
	}
	return nil, false
}
