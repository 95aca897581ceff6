package window_test

import (
	"fmt"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

// at returns a time of day as milliseconds since 1970.
func at(clock string) int64 {
	t, err := time.Parse(time.DateTime, "2026-03-01 "+clock)
	if err != nil {
		panic(err)
	}
	return t.UnixMilli()
}

func show(s window.Span) string {
	clock := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05") }
	return clock(s.Start) + "-" + clock(s.End)
}

// start = ts - floorMod(ts - offset, size). With windows of 10 s, 12:00:07 is 7 s behind a start; with an offset of 3 s the
// windows begin at second 3, 13 and 23, and it is 4 s behind one.
func ExampleTumbling() {
	ten := window.Tumbling(10 * time.Second)
	fmt.Println(show(ten.Of(at("12:00:07"))))
	fmt.Println(show(ten.Of(at("12:00:10"))), "has what ends the one before")
	fmt.Println(show(ten.Offset(3 * time.Second).Of(at("12:00:07"))))
	// Output:
	// 12:00:00-12:00:10
	// 12:00:10-12:00:20 has what ends the one before
	// 12:00:03-12:00:13
}

// A day in New York, which is 5 hours behind UTC in winter.
func ExampleTumblingWindows_Offset() {
	day := window.Tumbling(24 * time.Hour).Offset(5 * time.Hour)
	s := day.Of(at("03:00:00"))
	fmt.Println(time.UnixMilli(s.Start).UTC().Format(time.DateTime), "to", time.UnixMilli(s.End).UTC().Format(time.DateTime))
	// Output: 2026-02-28 05:00:00 to 2026-03-01 05:00:00
}

// An event is in every window that begins at most 10 s before it, on a grid of 5 s: in 10 / 5 = 2 of them. Between two points of
// the grid all events are in the same windows; that is a slice.
func ExampleSliding() {
	w := window.Sliding(10*time.Second, 5*time.Second)
	for s := range w.Spans(at("12:00:07")) {
		fmt.Println(show(s))
	}
	fmt.Println("slice", show(w.Slice(at("12:00:07"))))
	// Output:
	// 12:00:00-12:00:10
	// 12:00:05-12:00:15
	// slice 12:00:05-12:00:10
}

// The slide need not divide the size: of windows of 7 s every 2 s an event is in 3 or in 4.
func ExampleSliding_uneven() {
	w := window.Sliding(7*time.Second, 2*time.Second)
	for _, clock := range []string{"12:00:10", "12:00:11"} {
		for s := range w.Spans(at(clock)) {
			fmt.Print(show(s), " ")
		}
		fmt.Println("slice", show(w.Slice(at(clock))))
	}
	// Output:
	// 12:00:04-12:00:11 12:00:06-12:00:13 12:00:08-12:00:15 12:00:10-12:00:17 slice 12:00:10-12:00:11
	// 12:00:06-12:00:13 12:00:08-12:00:15 12:00:10-12:00:17 slice 12:00:11-12:00:12
}

// With a gap of 5 s each event opens 5 s. Those of second 0 and 8 are two sessions; that of second 4 opens 4 to 9, which
// meets both and makes them one.
func ExampleSession() {
	w := window.Session(5 * time.Second)
	var open []window.Span
	for _, clock := range []string{"12:00:00", "12:00:08", "12:00:04"} {
		joined, from, to := window.Join(open, w.Of(at(clock)))
		open = append(append(append([]window.Span(nil), open[:from]...), joined), open[to:]...)
		fmt.Print(len(open), ":")
		for _, s := range open {
			fmt.Print(" ", show(s))
		}
		fmt.Println()
	}
	// Output:
	// 1: 12:00:00-12:00:05
	// 2: 12:00:00-12:00:05 12:00:08-12:00:13
	// 1: 12:00:00-12:00:13
}

// Windows of three: the events of a key are numbered from 0 as they come.
func ExampleCount() {
	w := window.Count(3)
	for _, number := range []int64{0, 2, 3} {
		fmt.Println(number, "is in", w.Of(number))
	}
	// Output:
	// 0 is in {0 3}
	// 2 is in {0 3}
	// 3 is in {3 6}
}

func ExampleGlobal() {
	fmt.Println(window.Global().Of(at("12:00:00")) == window.Global().Of(at("23:00:00")))
	// Output: true
}

// watermark = the highest time - the bound - 1 ms: after an event of 100 ms, with a bound of 20 ms, one of 80 ms is on time and
// one of 79 ms is late. Of two inputs the lower one counts, unless it is idle.
func ExampleWatermark() {
	w := window.NewWatermark(2, 20)
	w.Observe(0, 100)
	fmt.Println(w.Now() == window.Never, "nothing of the second input yet")
	fmt.Println(w.Observe(1, 50), "its 50 - 20 - 1")
	fmt.Println(w.Idle(1), "the first one's 100 - 20 - 1")
	fmt.Println(w.Observe(1, 60), "it never goes back")
	// Output:
	// true nothing of the second input yet
	// 29 its 50 - 20 - 1
	// 79 the first one's 100 - 20 - 1
	// 79 it never goes back
}
