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
//
// # When a window gives a result
//
// The watermark is the highest event time so far - MaxDelay - 1 ms, for each partition; it never goes back. A window from
// start to end, which is not in it, fires when the watermark reaches its last millisecond, end - 1 ms, and is forgotten when it
// reaches end - 1 ms + AllowedLateness. An event is late when all its windows are forgotten. With windows of 10 s, MaxDelay 2 s and
// AllowedLateness 5 s:
//
//	event    watermark before  after      what happens
//	12:00:03                   12:00:00.999
//	12:00:12 12:00:00.999      12:00:09.999  12:00:00-12:00:10 fires: pane 0
//	12:00:04 12:00:09.999      12:00:09.999  within the lateness: pane 1, of both events
//	12:00:17 12:00:09.999      12:00:14.999  12:00:00-12:00:10 is forgotten (9.999 + 5 s)
//	12:00:05 12:00:14.999      12:00:14.999  late: to LateTo
//
// In how many windows an event is, and which:
//
//	Tumbling(size)        1: from ts - (ts - offset) mod size on
//	Sliding(size, slide)  size / slide, rounded up or down: all that begin on the grid of slide within (ts - size, ts]
//	Session(gap)          1: from ts to ts + gap, and what that meets or touches of its key's
//	Count(n), Global()    1
//
// A result's time is the window's last millisecond. Its id is made of the handler's name, the key, the window and the pane, so that a reader
// can drop repeats.
//
// # Changing a handler
//
// State is found by the handler's Name. Triggers, delays, lateness, topics, and new or wider fields of the value may
// change: no result is given twice, none is lost, and what was forgotten stays so. (Sliding windows with Merge and without
// a trigger are kept in slices, which no other trigger goes with.) Other windows, another Emit, or a value of another
// kind are refused by AddTo: set them back, or take another Name, which starts empty. Values of another type can be
// migrated: raise State.Version and set State.Migrate.
package handlers
