package handlers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// Func makes a Watermill handler exactly-once: how far it has read and what it returned are one commit. Name, From and
// Handle are required, and To when Handle returns messages.
//
// Handle is called once per record, again when it fails, and for several partitions at once. Whatever it does to the
// world beside returning messages is not part of the commit and may be done again. A message that Handle nacks
// has failed, like one for which it returns an error.
//
// The message that Handle is given has a copy of the record's payload. Its metadata are the record's headers, the last
// of each name, and the record's key as stateful.Config.KeyFrom says. Its UUID is the one it was published with if the log
// kept it ([stateful.UUIDHeader]), else the record's id, else its place (topic/partition/offset): the same at every delivery. Its context is that of the call, with
// all that the Router put there: the names of handler, subscriber and topic. The publisher's are empty, for
// publishing is the outbox's work.
//
// A Func waits for no watermark, so no [stateful.Pace] matters to it.
//
// What Handle returns becomes rows of To: the payload, metadata as headers in order of their names, the key
// from the metadata as stateful.Config.KeyFrom says, and the record's time. Their UUIDs are not used: what is published has
// one of its own, the same however often it is published.
type Func struct {
	// Name is the identity of the position: never change it once deployed. It matches [a-z0-9._-]{1,128}.
	Name   string
	From   string // topic of the messages
	To     string // topic of what Handle returns
	Handle message.HandlerFunc
}

// HandlerName implements [stateful.Handler].
func (f Func) HandlerName() string { return f.Name }

// Inputs implements [stateful.Handler].
func (f Func) Inputs() []string { return []string{f.From} }

// Outputs implements [stateful.Outputter].
func (f Func) Outputs() []string {
	if f.To == "" {
		return nil
	}
	return []string{f.To}
}

// Validate implements [stateful.Validator].
func (f Func) Validate() error {
	var errs []error
	if f.Handle == nil {
		errs = append(errs, errors.New("Handle is required: the Watermill handler"))
	}
	if f.To != "" && f.To == f.From {
		errs = append(errs, fmt.Errorf("To is its own input %q: what it returns would come back for ever", f.From))
	}
	return errors.Join(errs...)
}

// Process implements [stateful.Handler].
func (f Func) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	keyFrom := tx.Task().KeyFrom()
	msg := f.message(ctx, tx, rec, keyFrom)
	out, err := f.Handle(msg)
	if err != nil {
		return err
	}
	select {
	case <-msg.Nacked():
		return errors.New("the handler nacked the message")
	default:
	}
	if len(out) > 0 && f.To == "" {
		return stateful.Permanent(fmt.Errorf("the handler returned %d messages, and To is empty: set it", len(out)))
	}
	for _, m := range out {
		if err := tx.Emit(rowOf(m, f.To, keyFrom, rec.Time)); err != nil {
			return err
		}
	}
	return nil
}

func (f Func) message(ctx context.Context, tx *stateful.Tx, rec *stateful.Record, keyFrom string) *message.Message {
	id := rec.ID
	if uuid, ok := rec.Header(stateful.UUIDHeader); ok {
		id = uuid
	} else if id == "" {
		id = f.From + "/" + strconv.Itoa(int(tx.Task().ID().Partition)) + "/" + strconv.FormatInt(rec.Offset, 10)
	}
	// The payload is the source's memory, and handlers change and keep it. A tombstone has none.
	msg := message.NewMessage(id, slices.Clone(rec.Value))
	for _, h := range rec.Headers {
		if h.Key != stateful.UUIDHeader {
			msg.Metadata[h.Key] = h.Value
		}
	}
	if len(rec.Key) > 0 {
		msg.Metadata[keyFrom] = string(rec.Key)
	}
	msg.SetContext(ctx)
	return msg
}

func rowOf(m *message.Message, topic, keyFrom string, ms int64) stateful.Row {
	row := stateful.Row{Topic: topic, Payload: m.Payload, Time: ms}
	for _, name := range slices.Sorted(maps.Keys(m.Metadata)) {
		if name == keyFrom {
			row.Key = []byte(m.Metadata[name])
			continue
		}
		row.Headers = append(row.Headers, stateful.Header{Key: name, Value: m.Metadata[name]})
	}
	return row
}
