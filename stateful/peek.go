package stateful

import (
	"context"
	"iter"
)

// Peeker is implemented by backends that let others than the owner of a task look at what is stored.
// [Processor.AddTo] compares with it what handlers have stored and what they are now; without it that
// is found when a task is opened.
type Peeker interface {
	// Peek yields every task of the app that was ever opened, in order of handler and partition, and the
	// value of key as of a commit that has been applied: nil for a missing one. No epoch is
	// raised and nothing is fenced. A value is only valid until the next one. After an error it ends.
	Peek(ctx context.Context, app, key string) iter.Seq2[Peeked, error]
}

// Peeked is what [Peeker.Peek] found of one task.
type Peeked struct {
	Task  TaskID
	Value []byte
}
