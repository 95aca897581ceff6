package model_test

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
)

// want is what the models gave, by partition, results before late events: outputs of different tasks or
// topics have no order among them.
func (p *player) want() (out []string) {
	for _, m := range p.models {
		var late []string
		for _, o := range m.Outputs() {
			if o.Value = p.plain(o.Value); o.Late {
				late = append(late, o.String())
			} else {
				out = append(out, o.String())
			}
		}
		out = append(out, late...)
	}
	return out
}

// plain is a value as it can be compared: a window that is made of parts has the events of one part
// before those of the next.
func (p *player) plain(value string) string {
	names := strings.Fields(value)
	if p.merge && p.spec.Kind == model.Sliding {
		slices.SortFunc(names, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return x - y
		})
	}
	return strings.Join(names, " ")
}

// got is what the engine gave, likewise. It checks what every output must be.
func (p *player) got() (out []string) {
	p.t.Helper()
	results, late := make([][]string, p.partitions), make([][]string, p.partitions)
	given := map[string]string{} // results by id
	taken := map[string]bool{}
	records := p.d.Records("lists")
	for i, r := range handlerstest.Results[string](p.d, "lists") {
		o := model.Output{
			Key: p.letter(r.Key), Start: r.Window.Start.UnixMilli(), End: r.Window.End.UnixMilli(),
			Value: p.plain(r.Value), Pane: r.Pane, Flushed: r.Flushed,
		}
		rec := records[i]
		if string(rec.Key) != p.real(o.Key) || rec.Time != o.End-1 {
			p.t.Fatalf("%v is published with the key %q and the time %d", o, rec.Key, rec.Time)
		}
		if other, twice := given[r.ID]; twice || r.ID == "" {
			p.t.Fatalf("%v has the id %q of %s", o, r.ID, other)
		}
		back := o
		back.Flushed = false
		given[r.ID] = back.String()
		if o.Back = r.Retract != ""; o.Back {
			if given[r.Retract] != back.String() || taken[r.Retract] {
				p.t.Fatalf("%v has the id of %q, taken back before: %t", o, given[r.Retract], taken[r.Retract])
			}
			taken[r.Retract] = true
		}
		part := p.partition(o.Key)
		results[part] = append(results[part], o.String())
	}
	for _, rec := range p.d.Records("late") {
		var e model.Event
		if err := (lines{}).Decode(rec.Value, &e); err != nil {
			p.t.Fatal(err)
		}
		o := model.Output{Key: e.Key, Late: true, Value: strconv.Itoa(e.N)}
		reason, _ := rec.Header(handlers.LateReason)
		missed, _ := rec.Header(handlers.LateWindow)
		start, end, _ := strings.Cut(missed, "/")
		wm, _ := rec.Header(handlers.LateWatermark)
		if reason != "the window and its allowed lateness have passed" {
			p.t.Fatalf("%v is late for the reason %q", o, reason)
		}
		o.Start, o.End, o.Watermark = p.millis(start), p.millis(end), p.millis(wm)
		part := p.partition(e.Key)
		late[part] = append(late[part], o.String())
	}
	for i := range results {
		out = append(append(out, results[i]...), late[i]...)
	}
	return out
}

func (p *player) millis(text string) int64 {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		p.t.Fatal(err)
	}
	return at.UnixMilli()
}
