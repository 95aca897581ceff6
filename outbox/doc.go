// Package outbox takes the outputs of committed transactions to where they go:
// to a [Sink], exactly once where the sink can.
//
// Outputs are stored with the state, in the commit that decides them. Behind the
// commit the relay publishes them: for each task and sink in the order of their
// sequence, in batches, stopping at the first failure and never skipping (K2). A
// sink keeps a cursor with what it published, so that after a crash the relay
// goes on exactly behind it. A sink that shares the state's database needs no
// relay at all: its rows are part of the commit (K8).
//
//	Outbox: outbox.New(log.Sink(), outbox.Publisher(kafka, outbox.PublisherConfig{Topics: []string{"alerts"}}))
//
// An output goes to the sink that names its topic, and to the one sink that names
// none when no other does. Order is kept within a sink; none is promised across
// sinks (K9). Let the outbox drain, by an orderly stop, before a topic moves to
// another sink: the other's cursor may be ahead of rows that still wait.
package outbox
