package stateful

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Source is a Watermill subscriber that knows positions. What it offers beyond
// a plain subscriber is told by [SourceTraits].
//
// A plain message.Subscriber can be used where a Source is asked for: it is
// taken as one partition without positions, whose messages are told apart by
// their UUID.
type Source interface {
	message.Subscriber

	// Attach returns a subscriber for one handler. group is the handler's own
	// (`<app>.<handler>`, O3), inputs are all its topics. Before the first
	// message of a partition is delivered, o.Assigned was called with it and
	// delivery starts at the position it returned; after o.Revoked was called
	// nothing more of it is delivered. Partitions of one index are assigned and
	// revoked together. The subscriber returned should be a [BatchSubscriber].
	// Nothing starts before its Subscribe or SubscribeBatches is called.
	Attach(group string, inputs []string, o Owner) (message.Subscriber, error)

	// Traits says what the source can do.
	Traits() SourceTraits
}

// BatchSubscriber delivers envelopes: messages made by [NewEnvelope].
type BatchSubscriber interface {
	// SubscribeBatches is Subscribe with envelopes of many records. Up to K
	// envelopes of a partition may be in flight. When one is nacked the source
	// waits until all of that partition are acked or nacked, then goes on from
	// the oldest that was not acked.
	SubscribeBatches(ctx context.Context, topic string) (<-chan *message.Message, error)
}

// Owner is told by a source which partitions it serves. Both calls may take
// long and come from a goroutine where that is allowed, never from a client's
// callback.
type Owner interface {
	// Assigned opens the tasks of partitions and returns where each is to be read
	// from; a Position without a Log means the beginning. The source refuses a
	// position of another log, beyond the end or below the start (S2).
	Assigned(ctx context.Context, partitions []Partition) (map[Partition]Position, error)
	// Revoked returns once the tasks of partitions are closed; what was in flight
	// is rolled back (S4).
	Revoked(ctx context.Context, partitions []Partition) error
}

// CommitListener is implemented by sources that want to know what was
// committed: for lag, for retention (which never passes a committed position)
// or for a broker's own monitoring.
type CommitListener interface {
	// Committed says that group's state includes everything of p below pos, durably.
	// It is called in order from one goroutine at a time per partition and must not block.
	Committed(group string, p Partition, pos Position)
}

// Partitioner returns the partition, in [0, partitions), of a key.
type Partitioner func(key []byte, partitions int) int

// SourceTraits declares what a source can do (S1). The zero value is the
// weakest: a stock Watermill subscriber of which nothing is known.
type SourceTraits struct {
	// Position: every record has an offset in a log with an identity.
	Position bool
	// Seek: the source can deliver again from any retained position.
	Seek bool
	// StableID: Record.ID is the same at every redelivery.
	StableID bool
	// FIFO: redeliveries keep the partition's order.
	FIFO bool
	// Partitions is the number of partitions of each topic; 0 when unknown.
	Partitions int
	// Partitioner is how keys were spread over partitions; nil when unknown. With
	// more than one partition an unknown partitioner is refused, unless the
	// handler promises that its keys follow the partitions (O4).
	Partitioner Partitioner
	// Domain says what the source itself survives.
	Domain Domain
}
