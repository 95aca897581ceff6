// Package stateful runs handlers exactly once over what a source delivers: one
// batch of records is one transaction, and its state, timers, position and
// outputs are one atomic commit of a backend.
//
// # The life of a batch
//
// A [Source] hands the Watermill router envelopes: messages whose context
// carries a [Batch]. The processor's intake, the last place where messages are
// seen in order, gives each a ticket. Behind the router's middlewares, where
// order is lost, the [Processor] takes envelopes by ticket, finds the [Task]
// of the batch's partition, and calls the handler for every record with a
// [Tx]. After every record the watermark moves, and what is due fires. Then the
// transaction is submitted as one [Commit]; the next envelope may begin while
// it becomes durable, and the message is acknowledged once it has.
//
// # What is kept here
//
// The rules that keep this correct have names (T1, S2, K4) which the comments
// use; docs/design.md says what each one is for and docs/testing.md which test
// fails without it.
//
// Start reading at processor.go, then run.go (a batch), commit.go (its end) and
// task.go (what is loaded when a task is opened).
package stateful
