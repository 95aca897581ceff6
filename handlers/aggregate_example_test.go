package handlers_test

import (
	"cmp"
	"fmt"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful/window"
)

type request struct {
	Route  string
	User   string
	Millis float64
	At     time.Time
}

func user(r request) string        { return r.User }
func millis(r request) float64     { return r.Millis }
func happened(r request) time.Time { return r.At }

// perHour aggregates four requests of one hour, and returns the result's value.
func perHour[R, A any](a handlers.Aggregate[request, A]) R {
	ten := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	d := handlerstest.New(handlerstest.Panic, handlers.Window[request, A]{
		Name: "requests", From: "requests", To: "per-hour",
		Key:       func(r request) string { return r.Route },
		Time:      happened,
		Windows:   window.Tumbling(time.Hour),
		MaxDelay:  time.Minute,
		Aggregate: a,
	}, handlerstest.StartAt(ten))
	d.Send(
		request{"/", "ana", 12, ten.Add(2 * time.Second)},
		request{"/", "bo", 80, ten.Add(1 * time.Second)}, // came second, happened first
		request{"/", "ana", 25, ten.Add(9 * time.Second)},
		request{"/", "cy", 40, ten.Add(5 * time.Second)},
	)
	d.End()
	return handlerstest.Results[R](d, "per-hour")[0].Value
}

// How many users there were.
func ExampleDistinctCount() {
	fmt.Println(perHour[int](handlers.DistinctCount(user)))
	// Output: 3
}

// How long requests took.
func ExampleQuantiles() {
	p := perHour[handlers.Percentiles](handlers.Quantiles(millis, 0.01))
	fmt.Printf("%d requests, median %.0f ms, all within %.0f ms\n", p.Count, p.P50, p.Max)
	// Output: 4 requests, median 25 ms, all within 81 ms
}

// Whose request was the first, whatever the order in which they came.
func ExampleFirst() {
	first := perHour[handlers.Picked[string]](handlers.First(happened, user))
	fmt.Println(first.At.Format(time.TimeOnly), first.Value)
	// Output: 10:00:01 bo
}

// How long the latest request took.
func ExampleLast() {
	last := perHour[handlers.Picked[float64]](handlers.Last(happened, millis))
	fmt.Println(last.At.Format(time.TimeOnly), last.Value)
	// Output: 10:00:09 25
}

// The two slowest requests.
func ExampleTopK() {
	slower := func(a, b request) int { return cmp.Compare(a.Millis, b.Millis) }
	for _, r := range perHour[[]request](handlers.TopK(2, func(r request) request { return r }, slower)) {
		fmt.Println(r.User, r.Millis)
	}
	// Output:
	// bo 80
	// cy 40
}

// Who came, in the order of arrival.
func ExampleList() {
	fmt.Println(perHour[[]string](handlers.List(1000, user)))
	// Output: [ana bo ana cy]
}

// The product of all.
func ExampleReduce() {
	times := func(a, b float64) (float64, error) { return a * b, nil }
	fmt.Println(perHour[handlers.Reduced[float64]](handlers.Reduce(millis, times)))
	// Output: {960000 4}
}

// Numbers and others at once.
func ExampleAll_distinct() {
	v := perHour[handlers.Values](handlers.All(
		handlers.Count[request](), handlers.DistinctCount(user), handlers.Quantiles(millis, 0.01), handlers.Last(happened, user),
	))
	last, err := handlers.Part[handlers.Picked[string]](v, 3)
	fmt.Printf("%.0f requests of %.0f users, median %.0f ms, the last of %s %v\n", v.At(0), v.At(1), v.At(2), last.Value, err)
	// Output: 4 requests of 3 users, median 25 ms, the last of ana <nil>
}
