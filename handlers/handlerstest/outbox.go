package handlerstest

import (
	"context"
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// sinkName is the name of the kit's only sink. It has a cursor for each task and is
// never slow, so rows are published as soon as they are pushed.
const sinkName = "kit"

func (l *life) outbox() stateful.Outbox { return &outbox{l} }

type outbox struct{ l *life }

func (o *outbox) Accepts(string) error      { return nil }
func (o *outbox) Check(*stateful.Row) error { return nil }
func (o *outbox) Close() error              { return nil }

func (o *outbox) SinkTraits(string) stateful.SinkTraits {
	return stateful.SinkTraits{Name: sinkName, Cursor: true, FIFO: true}
}

// OpenTask publishes what was stored and not published before.
func (o *outbox) OpenTask(_ context.Context, t stateful.OutboxTask) (stateful.TaskOutbox, error) {
	if o.l.dead.Load() {
		return nil, errCrashed
	}
	who := t.Producer
	who.Epoch = 0
	cursors := &o.l.k.broker.cursors
	if *cursors == nil {
		*cursors = make(map[stateful.Producer]uint64)
	}
	at, known := (*cursors)[who]
	if !known { // the state may come from another kit, whose sink had these
		at = t.Published[sinkName].Seq
		(*cursors)[who] = at
	}
	switch {
	case at >= t.NextSeq:
		return nil, fmt.Errorf("handlerstest: the sink has output %d and the state's next is %d: the state is older than what was published", at, t.NextSeq)
	case at < t.Published[sinkName].Seq:
		return nil, fmt.Errorf("handlerstest: the sink has outputs up to %d and the state says %d were published", at, t.Published[sinkName].Seq)
	}
	out := &taskOutbox{l: o.l, who: who, published: at}
	out.Push(t.Rows, nil)
	return out, nil
}

type taskOutbox struct {
	l         *life
	who       stateful.Producer
	published uint64
}

func (o *taskOutbox) Join(rows []stateful.Row) ([]stateful.Joined, []stateful.Row) { return nil, rows }

func (o *taskOutbox) Prepare(context.Context, []stateful.Row) ([]stateful.Prepared, error) {
	if o.l.dead.Load() {
		return nil, errCrashed
	}
	return nil, nil
}

func (o *taskOutbox) Abort(context.Context, []stateful.Prepared) {}

// Push publishes rows. Those at or below the cursor were published in a life before.
func (o *taskOutbox) Push(rows []stateful.Row, _ []stateful.Prepared) {
	if len(rows) == 0 || o.l.hit(BeforePublish) || o.l.dead.Load() {
		return
	}
	b := &o.l.k.broker
	for _, row := range rows {
		if row.Seq <= b.cursors[o.who] {
			continue
		}
		b.cursors[o.who] = row.Seq
		b.append(stateful.Partition{Topic: row.Topic}, stateful.Record{
			Key: row.Key, Value: row.Payload, Headers: row.Headers, Time: row.Time,
		})
	}
	if o.l.hit(AfterPublish) {
		return
	}
	o.published = b.cursors[o.who]
}

func (o *taskOutbox) Published() map[string]stateful.Published {
	return map[string]stateful.Published{sinkName: {Seq: o.published, Trim: o.published}}
}
func (o *taskOutbox) Progress() uint64           { return o.published }
func (o *taskOutbox) Room(context.Context) error { return nil }
func (o *taskOutbox) Backlog() (int, int64)      { return 0, 0 }
func (o *taskOutbox) Drained(context.Context) error {
	if o.l.dead.Load() {
		return errCrashed
	}
	return nil
}
func (o *taskOutbox) Close() error { return nil }
