// Package window is pure time: which windows an event belongs to, and how far a
// watermark has come. It has no clock, no state and no input or output; all
// times are integer milliseconds of event time since 1970 UTC and all
// intervals are half-open.
package window
