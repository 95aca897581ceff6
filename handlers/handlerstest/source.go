package handlerstest

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// source is what the processor may ask of the kit's broker. Batches are passed by hand.
type source struct{ *kit }

var _ stateful.EndTeller = source{}

func (source) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return nil, errors.New("handlerstest: the kit passes batches by hand")
}

func (source) Close() error { return nil }

// Traits implements [stateful.Source], but for Attach. With one partition there is no
// partitioner to follow.
func (source) Traits() stateful.SourceTraits {
	return stateful.SourceTraits{Position: true, Seek: true, StableID: true, FIFO: true, Partitions: 1}
}

// AtEnd implements [stateful.EndTeller].
func (s source) AtEnd(p stateful.Partition, pos stateful.Position) bool {
	l := s.broker.logs[p]
	return l == nil || pos.Offset == int64(len(*l))
}
