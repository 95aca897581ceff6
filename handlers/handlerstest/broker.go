package handlerstest

import (
	"bytes"
	"slices"

	"github.com/pondage/pondage/stateful"
)

// broker keeps every topic, inputs and outputs alike, and who reads what.
type broker struct {
	logs      map[stateful.Partition]*[]stateful.Record
	consumers []*consumer
	order     []stateful.Partition         // one for each record, in which they came
	cursors   map[stateful.Producer]uint64 // of the sink, by task
}

// consumer is a handler's place in one log.
type consumer struct {
	handler string
	part    stateful.Partition
	log     *[]stateful.Record
	next    int // the first record that was not acknowledged
}

func newBroker() broker { return broker{logs: make(map[stateful.Partition]*[]stateful.Record)} }

func (b *broker) log(p stateful.Partition) *[]stateful.Record {
	l := b.logs[p]
	if l == nil {
		l = new([]stateful.Record)
		b.logs[p] = l
	}
	return l
}

func (b *broker) read(topic string) bool {
	return slices.ContainsFunc(b.consumers, func(c *consumer) bool { return c.part.Topic == topic })
}

// subscribe makes a handler read a partition.
func (b *broker) subscribe(handler string, p stateful.Partition) {
	for _, c := range b.consumers {
		if c.handler == handler && c.part == p {
			return
		}
	}
	b.consumers = append(b.consumers, &consumer{handler: handler, part: p, log: b.log(p)})
}

func (b *broker) append(p stateful.Partition, rec stateful.Record) {
	l := b.log(p)
	rec.Offset, rec.ID = int64(len(*l)), ""
	*l = append(*l, rec)
	b.order = append(b.order, p)
}

// topic returns the records of all partitions of a topic, by partition.
func (b *broker) topic(name string) []stateful.Record {
	var parts []stateful.Partition
	for p := range b.logs {
		if p.Topic == name {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(x, y stateful.Partition) int { return int(x.Index) - int(y.Index) })
	var out []stateful.Record
	for _, p := range parts {
		out = append(out, *b.logs[p]...)
	}
	return out
}

// batch returns a batch at the consumer's place.
func (c *consumer) batch(recs []stateful.Record, end bool) stateful.Batch {
	return stateful.Batch{
		Partition: c.part, Log: "kit:" + c.part.Topic,
		Start: int64(c.next), End: int64(c.next + len(recs)), Records: recs, EndOfInput: end,
	}
}

// slice returns the batch of records from, including, to, excluding.
func (c *consumer) slice(from, to int) stateful.Batch {
	b := c.batch((*c.log)[from:to], false)
	b.Start, b.End = int64(from), int64(to)
	return b
}

// lend returns b with memory of its own, and what to call when it is acknowledged: the
// memory is then used for something else, as a source may do.
func lend(b stateful.Batch) (stateful.Batch, func()) {
	recs := slices.Clone(b.Records)
	for i := range recs {
		recs[i].Key, recs[i].Value = bytes.Clone(recs[i].Key), bytes.Clone(recs[i].Value)
		recs[i].Headers = slices.Clone(recs[i].Headers)
	}
	b.Records = recs
	return b, func() {
		for i := range recs {
			scribble(recs[i].Key)
			scribble(recs[i].Value)
			clear(recs[i].Headers)
			recs[i] = stateful.Record{}
		}
	}
}

func scribble(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
