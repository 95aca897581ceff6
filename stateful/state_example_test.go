package stateful_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
)

var (
	// seen remembers a visitor for an hour of event time after each visit.
	seen = stateful.Value[bool]{Name: "seen", TTL: time.Hour}
	// pages counts a visitor's pages.
	pages = stateful.Map[string, int]{Name: "pages"}
	// path is where a visitor went.
	path = stateful.List[string]{Name: "path", TTL: time.Hour}
	// stay is how long a visitor looks at a page.
	stay = stateful.Aggregate[float64, handlers.Average]{
		Name: "stay", Fold: handlers.Mean(func(seconds float64) float64 { return seconds }).Fold,
	}
)

// visits is a handler of its own kind: what typed handlers are made of.
type visits struct{}

func (visits) HandlerName() string { return "visits" }
func (visits) Inputs() []string    { return []string{"visits"} }
func (visits) Outputs() []string   { return []string{"arrivals"} }
func (visits) Validate() error     { return stateful.CheckStates(&seen, &pages, &path, &stay) }

func (visits) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	at := stateful.Scope{Tx: tx, Key: string(rec.Key)}
	if _, err := tx.Observe(rec.Time); err != nil {
		return err
	}
	_, known, err := seen.Get(ctx, at)
	if err != nil {
		return err
	}
	if err := seen.Put(ctx, at, true); err != nil {
		return err
	}
	page := string(rec.Value)
	n, _, err := pages.Get(ctx, at, page)
	if err != nil {
		return err
	}
	if err := pages.Put(ctx, at, page, n+1); err != nil {
		return err
	}
	if err := path.Append(ctx, at, page); err != nil {
		return err
	}
	if _, err := stay.Add(ctx, at, float64(10*(n+1))); err != nil {
		return err
	}
	if known {
		return nil
	}
	return tx.Emit(stateful.Row{Topic: "arrivals", Key: rec.Key, Payload: rec.Key, Time: rec.Time})
}

func visit(at time.Time, who, page string) stateful.Record {
	return stateful.Record{Key: []byte(who), Value: []byte(page), Time: at.UnixMilli()}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Who was away for an hour arrives anew.
func ExampleValue() {
	d := handlerstest.New(handlerstest.Panic, visits{})
	d.Send(
		visit(noon, "ana", "/"),
		visit(noon.Add(30*time.Minute), "ana", "/news"),
		visit(noon.Add(2*time.Hour), "bo", "/"),
		visit(noon.Add(2*time.Hour), "ana", "/"),
	)
	fmt.Println(d.Emitted("arrivals"))
	// Output: [ana bo ana]
}

// peek is a visits that prints what there is, instead.
type peek struct {
	visits
	show func(ctx context.Context, at stateful.Scope) error
}

func (p peek) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if string(rec.Value) == "show" {
		return p.show(ctx, stateful.Scope{Tx: tx, Key: string(rec.Key)})
	}
	return p.visits.Process(ctx, tx, rec)
}

// Entries come in order of their keys.
func ExampleMap() {
	d := handlerstest.New(handlerstest.Panic, peek{show: func(ctx context.Context, at stateful.Scope) error {
		for e, err := range pages.All(ctx, at) {
			if err != nil {
				return err
			}
			fmt.Println(e.Key, e.Value)
		}
		return nil
	}})
	d.Send(visit(noon, "ana", "/news"), visit(noon, "ana", "/"), visit(noon, "bo", "/"), visit(noon, "ana", "/news"))
	d.Send(visit(noon, "ana", "show"))
	// Output:
	// / 1
	// /news 2
}

// Each element is forgotten an hour after it was appended.
func ExampleList() {
	d := handlerstest.New(handlerstest.Panic, peek{show: func(ctx context.Context, at stateful.Scope) error {
		for page, err := range path.All(ctx, at) {
			if err != nil {
				return err
			}
			fmt.Println(page)
		}
		return nil
	}})
	d.Send(visit(noon, "ana", "/"), visit(noon.Add(45*time.Minute), "ana", "/news"), visit(noon.Add(70*time.Minute), "ana", "/faq"))
	d.Send(visit(noon, "ana", "show"))
	// Output:
	// /news
	// /faq
}

// Ready-made aggregates fit.
func ExampleAggregate() {
	d := handlerstest.New(handlerstest.Panic, peek{show: func(ctx context.Context, at stateful.Scope) error {
		mean, _, err := stay.Get(ctx, at)
		fmt.Println(mean.Mean(), "seconds")
		return err
	}})
	d.Send(visit(noon, "ana", "/"), visit(noon, "ana", "/"), visit(noon, "ana", "show"))
	// Output: 15 seconds
}
