package window_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/stateful/window"
)

const ms = time.Millisecond

func TestTumbling(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.TumblingWindows
		ts      int64
		want    window.Span
	}{
		{"vector 1: the last millisecond belongs to the window", window.Tumbling(10 * ms), 9, window.Span{Start: 0, End: 10}},
		{"vector 1: the end belongs to the next window", window.Tumbling(10 * ms), 10, window.Span{Start: 10, End: 20}},
		{"vector 2: before 1970 the start is rounded down", window.Tumbling(10 * ms), -1, window.Span{Start: -10, End: 0}},
		{"a negative start belongs to its own window", window.Tumbling(10 * ms), -10, window.Span{Start: -10, End: 0}},
		{"vector 3: an offset moves the grid", window.Tumbling(10 * ms).Offset(3 * ms), 2, window.Span{Start: -7, End: 3}},
		{"vector 3: the moved start is half-open too", window.Tumbling(10 * ms).Offset(3 * ms), 3, window.Span{Start: 3, End: 13}},
		{"an offset may be negative", window.Tumbling(10 * ms).Offset(-7 * ms), 2, window.Span{Start: -7, End: 3}},
		{"an offset may exceed the size", window.Tumbling(10 * ms).Offset(1003 * ms), 2, window.Span{Start: -7, End: 3}},
		{"one millisecond is a size", window.Tumbling(ms), -5, window.Span{Start: -5, End: -4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.windows.Of(tt.ts); got != tt.want {
				t.Errorf("Of(%d) = %v, want %v", tt.ts, got, tt.want)
			}
		})
	}
}

func TestTumblingNamesEveryFault(t *testing.T) {
	for _, tt := range []struct {
		name    string
		windows window.TumblingWindows
		want    []string // empty: valid
	}{
		{"a minute is valid", window.Tumbling(time.Minute), nil},
		{"any whole offset is valid", window.Tumbling(time.Minute).Offset(-3 * time.Hour), nil},
		{"no size", window.Tumbling(0), []string{"size is 0s"}},
		{"a negative size", window.Tumbling(-time.Second), []string{"size is -1s"}},
		{"a size below the millisecond", window.Tumbling(1500 * time.Microsecond), []string{"size 1.5ms"}},
		{"both faults at once", window.Tumbling(0).Offset(time.Nanosecond), []string{"size is 0s", "offset 1ns"}},
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

func TestWindowsThatAreAlikeDescribeThemselvesAlike(t *testing.T) {
	hour := window.Tumbling(time.Hour)
	if a, b := hour.String(), hour.Offset(-24*time.Hour).String(); a != b {
		t.Errorf("%q and %q are the same windows", a, b)
	}
	for _, other := range []window.Windows{window.Tumbling(time.Minute), hour.Offset(time.Minute), window.Tumbling(0)} {
		if other.String() == hour.String() {
			t.Errorf("%q describes other windows too", other)
		}
	}
}

// Every time lies in its window, of the size asked for, on the grid, and the
// windows' neighbours begin where it ends.
func FuzzTumbling(f *testing.F) {
	f.Add(int64(-1), int64(10), int64(3))
	f.Add(int64(1<<61), math.MaxInt64/int64(ms), int64(-1))
	f.Fuzz(func(t *testing.T, ts, size, offset int64) {
		const limit = math.MaxInt64 / int64(ms) // of a time.Duration
		if size %= limit; size <= 0 {
			size = 1 - size
		}
		ts, offset = ts/2, offset%limit
		w := window.Tumbling(time.Duration(size) * ms).Offset(time.Duration(offset) * ms)
		s := w.Of(ts)
		if !s.Contains(ts) || s.End-s.Start != size {
			t.Errorf("Of(%d) = %v with size %d", ts, s, size)
		}
		if (s.Start-offset)%size != 0 {
			t.Errorf("Of(%d) = %v is not on the grid of %d+n*%d", ts, s, offset, size)
		}
		if w.Of(s.Start) != s || w.Of(s.Last()) != s || w.Of(s.End).Start != s.End || w.Of(s.Start-1).End != s.Start {
			t.Errorf("Of(%d) = %v does not meet its neighbours", ts, s)
		}
	})
}
