// Package handlers has the handlers that users fill in: plain structs of functions and
// settings, which package stateful runs in transactions.
//
//   - [Window] counts, sums or otherwise folds the events of each key in windows of event time.
//   - [Keyed] calls a function for each event, with typed state of the event's key, timers and outputs: for what
//     a Window cannot say.
//   - [Func] makes an existing Watermill handler exactly-once.
//
// Any of them may emit to any topic that it declares; what it emits is committed with the state and the position,
// and published after that, in order.
package handlers
