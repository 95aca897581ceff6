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

type batchKey struct{}

// NewEnvelope returns a message that carries b. The message's context descends
// from ctx; its payload is empty and its UUID is built from the batch's place,
// so that it costs no random number.
func NewEnvelope(ctx context.Context, b *Batch) *message.Message {
	msg := message.NewMessage(b.Partition.Topic+"/"+strconv.Itoa(int(b.Partition.Index))+"/"+strconv.FormatInt(b.Start, 10), nil)
	msg.Metadata[EnvelopeKey] = strconv.Itoa(len(b.Records))
	msg.SetContext(WithBatch(ctx, b))
	return msg
}

// WithBatch returns a context that carries b.
func WithBatch(ctx context.Context, b *Batch) context.Context {
	return context.WithValue(ctx, batchKey{}, b)
}

// BatchFrom returns the batch in ctx, and whether there is one. Middlewares use
// it to see an envelope's records; they must not change them.
func BatchFrom(ctx context.Context) (*Batch, bool) {
	b, ok := ctx.Value(batchKey{}).(*Batch)
	return b, ok
}
