package window_test

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

func TestSliding(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.SlidingWindows
		ts      int64
		want    []int64 // starts
		slice   window.Span
	}{
		{"vector 4: the slide need not divide the size", window.Sliding(10*ms, 3*ms), 10, []int64{3, 6, 9}, window.Span{Start: 10, End: 12}},
		{"vector 5: windows that begin before 0 are made", window.Sliding(10*ms, 3*ms), 1, []int64{-6, -3, 0}, window.Span{Start: 1, End: 3}},
		{"a window more where the slide does not divide the size", window.Sliding(10*ms, 3*ms), 9, []int64{0, 3, 6, 9}, window.Span{Start: 9, End: 10}},
		{"vector 6: seven by two, at an end", window.Sliding(7*ms, 2*ms), 10, []int64{4, 6, 8, 10}, window.Span{Start: 10, End: 11}},
		{"vector 6: and one after it", window.Sliding(7*ms, 2*ms), 11, []int64{6, 8, 10}, window.Span{Start: 11, End: 12}},
		{"vector 7: an offset moves the grid", window.Sliding(10*ms, 5*ms).Offset(3 * ms), 10, []int64{3, 8}, window.Span{Start: 8, End: 13}},
		{"an offset may be negative", window.Sliding(10*ms, 5*ms).Offset(-12 * ms), 10, []int64{3, 8}, window.Span{Start: 8, End: 13}},
		{"the end belongs to the next windows", window.Sliding(10*ms, 5*ms), 20, []int64{15, 20}, window.Span{Start: 20, End: 25}},
		{"a negative time", window.Sliding(10*ms, 5*ms), -1, []int64{-10, -5}, window.Span{Start: -5, End: 0}},
		{"a slide of the size tumbles", window.Hopping(10*ms, 10*ms), -1, []int64{-10}, window.Span{Start: -10, End: 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int64
			for s := range tt.windows.Spans(tt.ts) {
				got = append(got, s.Start)
				if s.End-s.Start != tt.windows.Size() {
					t.Errorf("%v is of another size", s)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Spans(%d) begin at %v, want %v", tt.ts, got, tt.want)
			}
			if got := tt.windows.Slice(tt.ts); got != tt.slice {
				t.Errorf("Slice(%d) = %v, want %v", tt.ts, got, tt.slice)
			}
		})
	}
}

func TestSpansMayBeLeftEarly(t *testing.T) {
	for s := range window.Sliding(10*ms, 3*ms).Spans(10) {
		if s.Start != 3 {
			t.Errorf("the oldest begins at %d, want 3", s.Start)
		}
		break
	}
}

func TestSession(t *testing.T) {
	for _, tt := range []struct {
		name string
		gap  time.Duration
		at   []int64
		want []window.Span
	}{
		{"vector 8: a pause of the gap goes on", 5 * ms, []int64{0, 5}, []window.Span{{Start: 0, End: 10}}},
		{"vector 9: a longer pause does not", 5 * ms, []int64{0, 6}, []window.Span{{Start: 0, End: 5}, {Start: 6, End: 11}}},
		{"vector 10: an event between two joins them", 5 * ms, []int64{0, 8, 4}, []window.Span{{Start: 0, End: 13}}},
		{"it may join many", 5 * ms, []int64{0, 10, 20, 5, 15}, []window.Span{{Start: 0, End: 25}}},
		{"an event within a session changes nothing", 5 * ms, []int64{0, 5, 3}, []window.Span{{Start: 0, End: 10}}},
		{"an event before all others comes first", 5 * ms, []int64{20, 0}, []window.Span{{Start: 0, End: 5}, {Start: 20, End: 25}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := sessions(window.Session(tt.gap), tt.at); !slices.Equal(got, tt.want) {
				t.Errorf("sessions of %v are %v, want %v", tt.at, got, tt.want)
			}
		})
	}
}

func sessions(w window.SessionWindows, at []int64) (open []window.Span) {
	for _, ts := range at {
		s, from, to := window.Join(open, w.Of(ts))
		open = slices.Replace(open, from, to, s)
	}
	return open
}

func TestCountWindowsAreOfNumbers(t *testing.T) {
	w := window.Count(3)
	for number, want := range []int64{0, 0, 0, 3, 3, 3, 6} {
		if got := w.Of(int64(number)); got != (window.Span{Start: want, End: want + 3}) {
			t.Errorf("Of(%d) = %v, want it to begin at %d", number, got, want)
		}
	}
}

func TestTheGlobalWindowHasEveryTime(t *testing.T) {
	s := window.Global().Of(5)
	for _, ts := range []int64{window.Never, -1, 0, window.Forever - 1} {
		if !s.Contains(ts) {
			t.Errorf("%v does not contain %d", s, ts)
		}
	}
}

func TestKindsNameEveryFault(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.Windows
		want    []string // empty: valid
	}{
		{"ten by three is valid", window.Sliding(10*ms, 3*ms).Offset(-time.Hour), nil},
		{"ten by ten is valid", window.Sliding(10*ms, 10*ms), nil},
		{"a slide longer than the size", window.Sliding(10*ms, 11*ms), []string{"slide 11ms is longer", "would be in none"}},
		{"nothing set", window.Sliding(0, 0), []string{"size is 0s", "slide is 0s"}},
		{"all at once", window.Sliding(-1, 1500*time.Microsecond).Offset(1), []string{"size is -1ns", "slide 1.5ms", "offset 1ns"}},
		{"a session of a minute is valid", window.Session(time.Minute), nil},
		{"no gap", window.Session(0), []string{"gap of sessions is 0s"}},
		{"half a millisecond of gap", window.Session(500 * time.Microsecond), []string{"500µs is not a whole number"}},
		{"global is valid", window.Global(), nil},
		{"a count of one is valid", window.Count(1), nil},
		{"a count of none", window.Count(0), []string{"is 0", "at least 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.windows.Validate()
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("Validate() = %v, want %q", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Validate() = %q, does not mention %q", err, want)
				}
			}
		})
	}
}

func TestEveryKindDescribesItself(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range []window.Windows{
		window.Tumbling(time.Minute), window.Sliding(time.Minute, time.Second), window.Sliding(time.Minute, time.Minute),
		window.Sliding(time.Hour, time.Second), window.Sliding(time.Minute, time.Second).Offset(ms),
		window.Session(time.Minute), window.Session(time.Hour), window.Global(), window.Count(1), window.Count(60),
		window.Sliding(0, 0),
	} {
		if s := w.String(); seen[s] {
			t.Errorf("%q describes two", s)
		} else {
			seen[s] = true
		}
	}
	if a, b := window.Sliding(time.Minute, time.Second), window.Sliding(time.Minute, time.Second).Offset(-time.Hour); a.String() != b.String() {
		t.Errorf("%q and %q are the same windows", a, b)
	}
}

// Every event is in exactly its windows: those on the grid that it lies in, oldest first; and a
// slice is in the same windows from its first to its last millisecond and in others beside it.
func FuzzSliding(f *testing.F) {
	f.Add(int64(10), int64(10), int64(3), int64(0))
	f.Add(int64(-11), int64(7), int64(2), int64(-5))
	f.Add(int64(1<<61), int64(1000), int64(999), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, ts, size, slide, offset int64) {
		ts /= 2
		size = 1 + abs(size)%2000
		slide = 1 + abs(slide)%size
		offset %= math.MaxInt64 / int64(ms)
		w := window.Sliding(time.Duration(size)*ms, time.Duration(slide)*ms).Offset(time.Duration(offset) * ms)
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		var want []window.Span
		for s := ts - size; s <= ts; s++ {
			if (s-offset%slide)%slide == 0 && s+size > ts {
				want = append(want, window.Span{Start: s, End: s + size})
			}
		}
		got := slices.Collect(w.Spans(ts))
		if !slices.Equal(got, want) {
			t.Fatalf("%v: Spans(%d) = %v, want %v", w, ts, got, want)
		}
		if n := int64(len(got)); n > w.PerEvent() || n < w.PerEvent()-1 || w.Oldest(ts) != got[0] || w.Newest(ts) != got[n-1] {
			t.Errorf("%v: %d has %d windows from %v to %v", w, ts, n, w.Oldest(ts), w.Newest(ts))
		}
		s := w.Slice(ts)
		if !s.Contains(ts) {
			t.Errorf("%v: Slice(%d) = %v", w, ts, s)
		}
		for _, in := range []int64{s.Start, s.Last()} {
			if w.Slice(in) != s || w.Oldest(in) != got[0] || w.Newest(in) != got[len(got)-1] {
				t.Errorf("%v: %d is not in the windows of %d", w, in, ts)
			}
		}
		for _, out := range []int64{s.Start - 1, s.End} {
			if w.Oldest(out) == got[0] && w.Newest(out) == got[len(got)-1] {
				t.Errorf("%v: the slice of %d could be longer", w, ts)
			}
		}
	})
}

func abs(v int64) int64 {
	if v < 0 {
		return -(v + 1)
	}
	return v
}

// In whatever order they come, sessions are those of the events in order of time: a new one
// begins where the pause is longer than the gap.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 8, 4}, uint8(4))
	f.Add([]byte{200, 0, 100, 50, 150}, uint8(49))
	f.Fuzz(func(t *testing.T, at []byte, gap uint8) {
		w := window.Session(time.Duration(gap)*ms + ms)
		var times []int64
		for _, b := range at {
			times = append(times, int64(b)-100)
		}
		got := sessions(w, times)
		slices.Sort(times)
		var want []window.Span
		for _, ts := range times {
			if n := len(want); n > 0 && ts <= want[n-1].End {
				want[n-1].End = ts + w.Gap()
				continue
			}
			want = append(want, window.Span{Start: ts, End: ts + w.Gap()})
		}
		if !slices.Equal(got, want) {
			t.Errorf("sessions of %v are %v, want %v", at, got, want)
		}
		if !slices.IsSortedFunc(got, func(a, b window.Span) int { return cmp.Compare(a.End, b.Start) }) {
			t.Errorf("%v are not in order", got)
		}
	})
}
