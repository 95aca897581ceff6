// Package embedded is a durable, partitioned, ordered, replayable and batching
// Pub/Sub inside the process, on Pebble. It needs no server. The state backend
// stateful/pebble can share its database; then a task's outputs and its state are one
// atomic write (K8).
//
// A [Log] holds topics, a topic has a fixed number of partitions, a partition is a
// sequence of records numbered from 0 without gaps. A topic's log has a random
// identity, made when the topic is created, so that a position in a topic
// that was deleted and made again is never mistaken for one in the new topic (S2).
//
// Records go in through [Log.Append], a [Producer], [Log.AppendRows] or
// [Log.Publisher]; they come out through [Log.Attach] (envelopes, for the processor),
// [Log.Subscriber] (one message per record, for any Watermill handler) or
// [Log.Read]. Only durable records come out.
//
// # Layout
//
// All numbers in keys and fixed-width numbers in values are big-endian; "uvarint"
// and "varint" are those of encoding/binary. Every key begins with 'e', every
// value with the version of its format, 1. id is the log's identity, 8 random
// bytes; part is a partition's index, 4 bytes. Lengths are in bytes.
//
//	key                                        value, after the version byte
//	'e' 't' topic                              id [8]  partitions [4]  flags [1] (bit 0: sealed)
//	'e' 'r' id part offset [8]                 block of records, see below; offset is that of its first
//	'e' 'm' id part                            start [8]  end [8]: offsets below start were deleted; the
//	                                           end is at least end, even if no block is left
//	'e' 'c' id part group                      offset [8]: the group has committed all below it
//	'e' 'p' 0 name                             cursor of the named producer, see below
//	'e' 'p' 1 partition [4] uvarint(len) app handler   cursor of the task's sink, see below
//
// A cursor is: incarnation [8]  epoch [8]  sequence [8].
//
// A block of records is:
//
//	version [1]
//	count [4]             of records, at least 1
//	appended [8]          when, in milliseconds since 1970 UTC
//	length [4]            of the section of records
//	the records, each:
//	    uvarint           0: no key, else length of the key + 1
//	    key
//	    uvarint           0: no value, else length of the value + 1
//	    value
//	    varint            time of the record - appended, in milliseconds (wrapping)
//	    uvarint           number of headers
//	the headers of all records in order, each:
//	    uvarint           length of the name
//	    name
//	    uvarint           length of the value
//	    value
//
// Pebble keeps a checksum of every block.
package embedded
