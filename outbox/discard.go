package outbox

import (
	"context"

	"github.com/pondage/pondage/stateful"
)

// Discard returns a sink that takes everything and keeps nothing: for handlers that are run for
// their state, and for measuring. Its rows are not even stored.
func Discard(topics ...string) Sink { return discard{topics: topics} }

type discard struct{ topics []string }

func (discard) Traits() stateful.SinkTraits {
	return stateful.SinkTraits{Name: "discard", FIFO: true, Domain: stateful.DomainProcess}
}

func (d discard) Topics() []string { return d.topics }

func (discard) Check(*stateful.Row) error { return nil }

func (discard) Recover(context.Context, stateful.Producer, []stateful.Prepared) (Cursor, error) {
	return Cursor{}, nil
}

func (discard) Commit(_ context.Context, _ stateful.Producer, rows []stateful.Row) (int, error) {
	return len(rows), nil
}

func (discard) Close() error { return nil }
