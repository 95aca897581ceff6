package outbox

import (
	"context"

	"github.com/pondage/pondage/stateful"
)

// Sink publishes rows of many tasks into one kind of system. It may be used by
// several goroutines, but for one task (one App, Handler and Partition) the outbox
// makes one call at a time, except for those of [Preparer] and [Joiner]. What another sink
// refused comes as the rows of a task of its own, see [DeadLetter], whose Handler has the refusing sink's
// name behind a "~".
//
// A sink whose traits say Cursor keeps, for each task, up to which sequence it has
// published, under the producer's (incarnation, epoch), and moves it in the same
// atomic step as the rows. A producer with a lower pair than the sink has seen gets an error
// that wraps [stateful.ErrFenced] from every call (K1).
//
// Calls return soon after ctx is done. After Close they return an error that
// wraps [stateful.ErrClosed].
type Sink interface {
	// Traits says what the sink can do. Its Name tells it from the other sinks of
	// an outbox and is stored with the state: never change it once deployed. It
	// returns the same every time.
	Traits() stateful.SinkTraits

	// Check returns why Commit would refuse the row for ever, nil when it would not:
	// its size, topic or encoding (K4). It is called for every output, by many
	// goroutines, and must be cheap. row.Seq is not set yet.
	Check(row *stateful.Row) error

	// Recover makes sure, durably, that no producer of a lower (incarnation, epoch)
	// publishes any more, gives up what was prepared and is not in decided, and then returns
	// the cursor. It can be called again with the same producer.
	Recover(ctx context.Context, p stateful.Producer, decided []stateful.Prepared) (Cursor, error)

	// Commit publishes rows, whose sequences rise and may leave gaps, in order, and returns
	// how many of them, counted from the first, are published durably; with an error when not all
	// are. Rows at or below the cursor count as published and are not published
	// again, so that a Commit whose answer was lost can be repeated. The rows and
	// their memory stay the caller's and are valid until Commit returns.
	//
	// An error that wraps [stateful.ErrFenced] or [stateful.ErrClosed] stops the task's relay into this
	// sink. One that is permanent ([stateful.Permanent]) says that one of the rows, the next one where
	// the sink knows, is refused for ever: see [Config].OnReject. After any other the same rows are
	// committed again.
	Commit(ctx context.Context, p stateful.Producer, rows []stateful.Row) (n int, err error)

	// Close releases the sink. What it was given, a client or a publisher, stays
	// open. A second Close returns nil.
	Close() error
}

// Cursor is what a sink has of a task in the producer's incarnation. The zero
// Cursor means nothing; an incarnation begins with it.
type Cursor struct {
	Epoch uint64 // of the last owner the sink heard of, or 0; no higher than the producer's
	Seq   uint64 // all rows of this sink up to here are published
}

// Selective is a [Sink] for some topics. One without this method, or that returns
// none, takes all topics that no other sink names.
type Selective interface {
	// Topics are the topics whose outputs go to this sink. It returns the same every time.
	Topics() []string
}

// Preparer is a [Sink] that must reserve before the state commit, because later it
// could no longer promise to publish. The handle is stored in the commit that
// decides the rows (K4). Several transactions of a task may be prepared at once;
// they are committed in the order in which they were prepared.
type Preparer interface {
	Sink
	// Prepare reserves what publishing rows, of one transaction, needs. The handle may be
	// empty. On an error nothing stays reserved. It may run beside CommitPrepared
	// for rows of earlier transactions.
	Prepare(ctx context.Context, p stateful.Producer, rows []stateful.Row) (handle []byte, err error)
	// CommitPrepared publishes rows, which were prepared together under handle, all or
	// none, and otherwise like Commit; it cannot refuse them. Commit is used for rows that were stored
	// before the sink was a Preparer.
	CommitPrepared(ctx context.Context, p stateful.Producer, handle []byte, rows []stateful.Row) error
	// Abort gives up what handle reserved. It returns nil when there is nothing.
	Abort(ctx context.Context, p stateful.Producer, handle []byte) error
}

// Joiner is a [Sink] whose rows can be written in the state's own commit (K8).
// For a store whose CanJoin accepts Database all its rows are, for as long as the
// task is open; for any other none is. Commit is then only used for rows that were
// stored before, and for those that another sink refused.
type Joiner interface {
	Sink
	// Database is what the sink writes to, to be compared by the store.
	Database() any
	// Join returns the part of rows, of one transaction, in the commit. The rows keep their
	// memory until the commit is durable or failed.
	Join(p stateful.Producer, rows []stateful.Row) stateful.Joined
}
