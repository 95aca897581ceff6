package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// event is what the tests fold: milliseconds, not minutes, keep the vectors as they are
// written in the semantics.
type event struct {
	Key string
	At  int64
	N   float64
}

func counting() handlers.Window[event, int] {
	return handlers.Window[event, int]{
		Name: "counts", From: "events", To: "counts",
		Key:     func(e event) string { return e.Key },
		Time:    func(e event) time.Time { return time.UnixMilli(e.At) },
		Windows: window.Tumbling(10 * time.Millisecond),
		Fold:    func(n int, _ event) (int, error) { return n + 1, nil },
	}
}

// engine is a processor that is given batches by hand. What it publishes outlives it.
type engine struct {
	t       testing.TB
	cfg     stateful.Config
	handler stateful.Handler
	sink    *sink
	p       *stateful.Processor
	offset  int64
	silence func() // lets FlushAfter pass
}

func newEngine(t testing.TB, h stateful.Handler, change ...func(*stateful.Config)) *engine {
	e := &engine{t: t, handler: h, sink: &sink{}}
	e.cfg = stateful.Config{
		App: "test", Backend: memory.New(), Outbox: e.sink, DeadLetterTo: "dead",
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), TickEvery: -1,
	}
	for _, f := range change {
		f(&e.cfg)
	}
	e.restart()
	return e
}

// restart drops everything in memory; the backend and what was published stay.
func (e *engine) restart() {
	e.t.Helper()
	p, err := stateful.NewProcessor(e.cfg)
	if err == nil {
		err = p.AddTo(nil, e.handler)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.p = p
}

func (e *engine) send(events ...event) {
	e.t.Helper()
	if err := e.try(events...); err != nil {
		e.t.Fatal(err)
	}
}

// try sends one batch. When it fails nothing of it counts as sent.
func (e *engine) try(events ...event) error {
	return e.tryWith(context.Background(), events...)
}

func (e *engine) tryWith(ctx context.Context, events ...event) error {
	var recs []stateful.Record
	for i, ev := range events {
		value, _ := json.Marshal(ev)
		recs = append(recs, stateful.Record{Value: value, Time: ev.At, Offset: e.offset + int64(i)})
	}
	return e.batchWith(ctx, recs, false)
}

func (e *engine) batch(recs []stateful.Record, last bool) error {
	return e.batchWith(context.Background(), recs, last)
}

func (e *engine) batchWith(ctx context.Context, recs []stateful.Record, last bool) error {
	end := e.offset + int64(len(recs))
	err := e.p.Process(ctx, e.handler.HandlerName(), stateful.Batch{
		Partition: stateful.Partition{Topic: "events"}, Log: "log",
		Start: e.offset, End: end, Records: recs, EndOfInput: last,
	})
	if err == nil {
		e.offset = end
	}
	return err
}

// end says that nothing follows.
func (e *engine) end() {
	e.t.Helper()
	if err := e.batch(nil, true); err != nil {
		e.t.Fatal(err)
	}
}

// brief lists what was published as "key start-end value pane".
func (e *engine) brief() []string {
	e.t.Helper()
	var out []string
	for _, row := range e.sink.rows {
		switch row.Topic {
		case "counts":
			var r handlers.Result[json.RawMessage]
			if err := json.Unmarshal(row.Payload, &r); err != nil {
				e.t.Fatalf("%s: %v", row.Payload, err)
			}
			s := fmt.Sprintf("%s %d-%d %s", r.Key, r.Window.Start.UnixMilli(), r.Window.End.UnixMilli(), r.Value)
			if r.Pane > 0 {
				s += fmt.Sprintf(" pane %d", r.Pane)
			}
			out = append(out, s)
		case "late":
			var ev event
			if err := json.Unmarshal(row.Payload, &ev); err != nil {
				e.t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("late %s %d", ev.Key, ev.At))
		default:
			out = append(out, row.Topic+": "+reason(row))
		}
	}
	return out
}

// long lists results with what is left out of brief, and what takes back others with what it does.
func (e *engine) long() []string {
	e.t.Helper()
	var out []string
	lines := map[string]string{} // by id
	for _, row := range e.sink.rows {
		if row.Topic != "counts" {
			var ev event
			if err := json.Unmarshal(row.Payload, &ev); err != nil || row.Topic != "late" {
				e.t.Fatalf("%s: %s %v", row.Topic, reason(row), err)
			}
			out = append(out, fmt.Sprintf("late %s %d", ev.Key, ev.At))
			continue
		}
		var r handlers.Result[string]
		if err := json.Unmarshal(row.Payload, &r); err != nil {
			e.t.Fatalf("%s: %v", row.Payload, err)
		}
		line := fmt.Sprintf("%s %d-%d %q pane %d", r.Key, r.Window.Start.UnixMilli(), r.Window.End.UnixMilli(), r.Value, r.Pane)
		if row.Time != r.Window.End.UnixMilli()-1 || string(row.Key) != r.Key {
			e.t.Errorf("%s is of key %q and time %d", line, row.Key, row.Time)
		}
		if lines[r.ID] != "" {
			e.t.Errorf("%s has the id of %s", line, lines[r.ID])
		}
		lines[r.ID] = line
		if r.Retract != "" {
			if lines[r.Retract] != line {
				e.t.Errorf("%s takes back %q", line, lines[r.Retract])
			}
			line = "back " + line
		}
		out = append(out, line)
	}
	return out
}

func (e *engine) published(topic string) []stateful.Row {
	var rows []stateful.Row
	for _, r := range e.sink.rows {
		if r.Topic == topic {
			rows = append(rows, r)
		}
	}
	return rows
}

func reason(row stateful.Row) string {
	for _, h := range row.Headers {
		if h.Key == stateful.DeadLetterReason {
			return h.Value
		}
	}
	return ""
}

// at makes events from words: "ana@5".
func at(words ...string) []event {
	var out []event
	for _, w := range words {
		key, when, _ := strings.Cut(w, "@")
		ev := event{Key: key}
		if _, err := fmt.Sscan(when, &ev.At); err != nil {
			panic(err)
		}
		ev.N = float64(ev.At)
		out = append(out, ev)
	}
	return out
}

// sink takes what is committed, each row once, as a sink with a cursor does.
type sink struct {
	rows []stateful.Row
	seq  uint64
	drop bool // keep nothing: for measuring
	seen map[string]bool
}

// sawOnly reports whether rows came for topic and for no other.
func (s *sink) sawOnly(topic string) bool { return s.seen[topic] && len(s.seen) == 1 }

func (s *sink) Accepts(string) error      { return nil }
func (s *sink) Check(*stateful.Row) error { return nil }
func (s *sink) Close() error              { return nil }
func (s *sink) SinkTraits(string) stateful.SinkTraits {
	return stateful.SinkTraits{Name: "sink", Cursor: true, FIFO: true}
}

func (s *sink) OpenTask(_ context.Context, t stateful.OutboxTask) (stateful.TaskOutbox, error) {
	o := &relay{s}
	o.Push(t.Rows, nil)
	return o, nil
}

type relay struct{ s *sink }

func (r *relay) Join(rows []stateful.Row) ([]stateful.Joined, []stateful.Row) { return nil, rows }
func (r *relay) Prepare(context.Context, []stateful.Row) ([]stateful.Prepared, error) {
	return nil, nil
}
func (r *relay) Abort(context.Context, []stateful.Prepared) {}

func (r *relay) Push(rows []stateful.Row, _ []stateful.Prepared) {
	for _, row := range rows {
		if row.Seq <= r.s.seq {
			continue
		}
		r.s.seq = row.Seq
		if r.s.seen == nil {
			r.s.seen = map[string]bool{}
		}
		r.s.seen[row.Topic] = true
		if !r.s.drop {
			r.s.rows = append(r.s.rows, row)
		}
	}
}

func (r *relay) Published() map[string]stateful.Published {
	return map[string]stateful.Published{"sink": {Seq: r.s.seq, Trim: r.s.seq}}
}
func (r *relay) Progress() uint64              { return r.s.seq }
func (r *relay) Room(context.Context) error    { return nil }
func (r *relay) Backlog() (int, int64)         { return 0, 0 }
func (r *relay) Drained(context.Context) error { return nil }
func (r *relay) Close() error                  { return nil }
