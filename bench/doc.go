// Command bench measures Pondage against the same work done without it, in one
// run on one machine: `make bench`, or `go run ./bench -run REGEXP`.
//
// The sides of a row take turns, and each figure is the median of the repeats;
// a ratio is the median of the repeats' own ratios. CPU time is that of the whole
// process, by getrusage. Every run checks itself: the counts that come out
// must add up to the events that went in.
//
// The events are made once, outside Go's heap, and used in a circle; their
// time is moved on by writing it into the event (8 bytes, or 13 digits in
// JSON) when a batch is filled. The row "generator" says what filling costs; it
// is part of both sides of all others.
package main
