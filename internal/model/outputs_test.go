package model_test

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/internal/model"
	"github.com/pondage/pondage/stateful"
)

// want is what the models gave, by partition, results before late events: outputs of different tasks or
// topics have no order among them.
func (p *player) want() []model.Output {
	var out []model.Output
	for _, m := range p.models {
		for _, o := range m.Outputs() {
			o.Silence = o.Silence && p.tellsSilence()
			out = append(out, o)
		}
	}
	return p.ordered(out)
}

// ordered brings outputs into the order of want.
func (p *player) ordered(out []model.Output) []model.Output {
	slices.SortStableFunc(out, func(a, b model.Output) int {
		if a.Late != b.Late && p.partition(a.Key) == p.partition(b.Key) {
			if a.Late {
				return 1
			}
			return -1
		}
		return cmp.Compare(p.partition(a.Key), p.partition(b.Key))
	})
	return out
}

// got is what the engine gave, likewise. It checks what every output must be.
func (p *player) got() (out []model.Output) {
	p.t.Helper()
	given := map[string]model.Output{} // results by id
	taken := map[string]bool{}
	records := p.d.Records("lists")
	for i, r := range handlerstest.Results[string](p.d, "lists") {
		o := model.Output{
			Key: p.letter(r.Key), Start: r.Window.Start.UnixMilli(), End: r.Window.End.UnixMilli(),
			Value: r.Value, Pane: r.Pane,
		}
		rec := records[i]
		if string(rec.Key) != p.real(o.Key) || rec.Time != o.End-1 {
			p.t.Fatalf("%v is published with the key %q and the time %d", o, rec.Key, rec.Time)
		}
		if other, twice := given[r.ID]; twice || r.ID == "" {
			p.t.Fatalf("%v has the id %q of %v", o, r.ID, other)
		}
		given[r.ID] = o
		if r.Retract != "" {
			if given[r.Retract] != o || taken[r.Retract] {
				p.t.Fatalf("%v takes back %v, which was taken back before: %t", o, given[r.Retract], taken[r.Retract])
			}
			taken[r.Retract], o.Back = true, true
		}
		o.Flushed = r.Flushed
		out = append(out, o)
	}
	for _, rec := range p.d.Records("late") {
		out = append(out, p.late(&rec))
	}
	return p.ordered(out)
}

// tellsSilence reports whether one knows what the watermark were without a flush. With several inputs it is
// up to which of them would count.
func (p *player) tellsSilence() bool { return p.spec.Inputs == 1 || p.spec.FlushAfter == 0 }

// late is a late event with what its headers say.
func (p *player) late(rec *stateful.Record) model.Output {
	var e model.Event
	if err := (lines{}).Decode(rec.Value, &e); err != nil {
		p.t.Fatal(err)
	}
	reason, _ := rec.Header(handlers.LateReason)
	flushed := reason == handlers.LateByFlush
	if !flushed && reason != handlers.LateByWatermark {
		p.t.Fatalf("%v is late for the reason %q", e, reason)
	}
	missed, _ := rec.Header(handlers.LateWindow)
	start, end, _ := strings.Cut(missed, "/")
	wm, _ := rec.Header(handlers.LateWatermark)
	return model.Output{
		Key: e.Key, Late: true, Value: strconv.Itoa(e.N),
		Start: p.millis(start), End: p.millis(end), Watermark: p.millis(wm),
		Silence: flushed && p.tellsSilence(),
	}
}

func (p *player) millis(text string) int64 {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		p.t.Fatal(err)
	}
	return at.UnixMilli()
}
