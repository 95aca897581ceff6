package handlers

import (
	"fmt"
	"strconv"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// resultWriter emits results. Its buffers are used again for each, for Emit copies.
type resultWriter[A any] struct {
	topic, handler string
	own            func(Result[A]) (any, error)
	codec          stateful.Codec                           // of what own returns
	encode         func([]byte, *Result[A]) ([]byte, error) // without own
	value          func([]byte, *A) ([]byte, error)         // of the JSON written here
	key, body, id  []byte
	back           []byte // the id of what is taken back
	scratch        []byte
	v              A // the value in hand: a pointer to it escapes
	r              Result[A]
	span           window.Span // that spanJSON is of
	spanJSON       []byte
}

func newResultWriter[E, A any](w Window[E, A]) *resultWriter[A] {
	o := &resultWriter[A]{topic: w.To, handler: w.Name, own: w.Encode, codec: w.Out}
	switch {
	case w.Encode != nil:
		if o.codec == nil {
			o.codec = stateful.DefaultCodec()
		}
	case w.Out != nil:
		o.encode = stateful.Encoder[Result[A]](w.Out)
	default:
		o.value = valueJSON[A]()
	}
	return o
}

// valueJSON returns the encoder of values: encoding/json, which costs as much as all the rest
// of a result when the value is a plain count.
func valueJSON[A any]() func([]byte, *A) ([]byte, error) {
	switch any((*A)(nil)).(type) {
	case *int:
		return func(b []byte, v *A) ([]byte, error) { return strconv.AppendInt(b, int64(*any(v).(*int)), 10), nil }
	case *int64:
		return func(b []byte, v *A) ([]byte, error) { return strconv.AppendInt(b, *any(v).(*int64), 10), nil }
	}
	return stateful.Encoder[A](stateful.JSONCodec{})
}

// output is one result on its way out.
type output[A any] struct {
	window.Span             // of event time
	id          window.Span // what its id is made of, most often the same
	key         string
	value       A
	pane        uint32
	retract     bool // it takes back the result of that window and pane
}

// emit emits one result. A value that cannot be encoded is a permanent error.
func (o *resultWriter[A]) emit(tx *stateful.Tx, r *output[A]) error {
	o.key = append(o.key[:0], r.key...)
	o.back = o.back[:0]
	if r.retract {
		o.back, o.scratch = appendResultID(o.back, o.scratch, o.handler, r.key, r.id, r.pane, false)
	}
	o.id, o.scratch = appendResultID(o.id[:0], o.scratch, o.handler, r.key, r.id, r.pane, r.retract)
	var err error
	if o.value != nil {
		err = o.writeJSON(r, tx.Flushing())
	} else {
		o.r = Result[A]{Key: r.key, Window: boundsOf(r.Span), Value: r.value, Pane: int(r.pane), ID: string(o.id), Retract: string(o.back), Flushed: tx.Flushing()}
		err = o.writeOwn()
	}
	if err != nil {
		return fmt.Errorf("encode the result of key %q, window %v to %v: %w", r.key, boundsOf(r.Span).Start, boundsOf(r.Span).End, err)
	}
	return tx.Emit(stateful.Row{Topic: o.topic, Key: o.key, Payload: o.body, Time: r.Last()})
}

func (o *resultWriter[A]) writeOwn() error {
	var err error
	if o.own == nil {
		o.body, err = o.encode(o.body[:0], &o.r)
		return stateful.Permanent(err)
	}
	shape, err := o.own(o.r)
	if err != nil {
		return err
	}
	o.body, err = o.codec.Append(o.body[:0], shape)
	return stateful.Permanent(err)
}

// writeJSON writes what [Result.MarshalJSON] gives, several times faster.
func (o *resultWriter[A]) writeJSON(r *output[A], flushed bool) error {
	if r.Span != o.span || o.spanJSON == nil {
		o.span, o.spanJSON = r.Span, appendSpanJSON(o.spanJSON[:0], r.Span)
	}
	b, err := appendJSONString(append(o.body[:0], `{"key":`...), r.key)
	if err != nil {
		return stateful.Permanent(err)
	}
	b = append(append(append(b, ','), o.spanJSON...), `,"value":`...)
	o.v = r.value
	if b, err = o.value(b, &o.v); err != nil {
		return stateful.Permanent(err)
	}
	b = strconv.AppendUint(append(b, `,"pane":`...), uint64(r.pane), 10)
	b = append(append(b, `,"id":"`...), o.id...)
	if r.retract {
		b = append(append(b, `","retract":"`...), o.back...)
	}
	b = append(b, '"')
	if flushed {
		b = append(b, `,"flushed":true`...)
	}
	o.body = append(b, '}')
	return nil
}
