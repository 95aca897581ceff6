package demo

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// view is one way to cut the flights into windows: a handler of its own, with topics of its own.
type view struct {
	name    string // for --show
	topic   string // of the results; also the handler's name, and part of the state's identity
	late    string // topic of what came too late
	windows window.Windows
	where   func(flights.Flight) bool

	title  string // of the table
	column string // of the table, for a window
	enough int    // flights in a window, for its mean to mean something
	worst  func(a, b *row) bool
}

const (
	longDelay = 60 // minutes; longer ones make sessions
	sessionOf = 30 * time.Minute
)

// views are all of them. The first one's results are printed unless --show says otherwise.
var views = []view{
	{
		name: Tumbling, topic: "flight-hours", late: "flights-late", windows: window.Tumbling(time.Hour),
		title: "The worst hours", column: "hour (UTC)", enough: 10,
		worst: func(a, b *row) bool { return a.Mean > b.Mean },
	},
	{
		name: Sliding, topic: "flight-spans", late: "flight-spans-late", windows: window.Sliding(3*time.Hour, time.Hour),
		title: "The worst three hours", column: "from (UTC)", enough: 30,
		worst: func(a, b *row) bool { return a.Mean > b.Mean },
	},
	{
		name: Sessions, topic: "flight-runs", late: "flight-runs-late", windows: window.Session(sessionOf), where: isLong,
		title: fmt.Sprintf("The longest runs of departures more than %d minutes late", longDelay), column: "scheduled (UTC)", enough: 2,
		worst: func(a, b *row) bool { return a.End.Sub(a.Start) > b.End.Sub(b.Start) },
	},
}

func isLong(f flights.Flight) bool { return f.Delay > longDelay }

// viewOf returns the view called name.
func viewOf(name string) *view {
	for i := range views {
		if views[i].name == name {
			return &views[i]
		}
	}
	return nil
}

// handler returns the view's handler.
func (v *view) handler(delay time.Duration, stats *handlers.Stats) stateful.Handler {
	minutes := func(f flights.Flight) float64 { return float64(f.Delay) }
	return handlers.Window[flights.Flight, handlers.Values]{
		Name: v.topic, From: topicFlights, To: v.topic, LateTo: v.late,
		In:      flightCodec{},
		Key:     func(f flights.Flight) string { return f.Origin },
		Time:    func(f flights.Flight) time.Time { return f.Scheduled },
		Where:   v.where,
		Windows: v.windows, MaxDelay: delay,
		Aggregate: handlers.All(handlers.Count[flights.Flight](), handlers.Mean(minutes), handlers.Max(minutes)),
		Encode:    func(r handlers.Result[handlers.Values]) (any, error) { return newRow(r), nil },
		Stats:     stats,
	}
}
