package window_test

import (
	"testing"

	"github.com/pondage/pondage/stateful/window"
)

func TestWatermark(t *testing.T) {
	type step struct {
		input int
		ts    int64
		want  int64
	}
	const end = window.Forever
	for _, tt := range []struct {
		name   string
		inputs int
		delay  int64
		steps  []step
	}{
		{"vector 16: bound 20 and 100 give 79", 1, 20, []step{{0, 100, 79}}},
		{"without a bound the millisecond before is closed", 1, 0, []step{{0, 10, 9}}},
		{"an older event does not move it", 1, 0, []step{{0, 10, 9}, {0, 3, 9}}},
		{"an input that was never heard holds it back", 2, 0, []step{{0, 100, window.Never}, {1, 5, 4}}},
		{"the slowest input counts", 2, 0, []step{{0, 100, window.Never}, {1, 50, 49}, {1, 200, 99}}},
		{"an ended input no longer counts", 2, 0, []step{{0, 100, window.Never}, {1, end, 99}, {0, 120, 119}}},
		{"all inputs ended is the end of time", 2, 5, []step{{0, end, window.Never}, {1, end, window.Forever}}},
		{"the first times there are do not overflow", 1, 10, []step{{0, window.Never + 3, window.Never}, {0, window.Never + 12, window.Never + 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := window.NewWatermark(tt.inputs, tt.delay)
			for i, s := range tt.steps {
				got := int64(0)
				if s.ts == end {
					got = w.End(s.input)
				} else {
					got = w.Observe(s.input, s.ts)
				}
				if got != s.want || w.Now() != s.want {
					t.Errorf("step %d: watermark %d, Now %d, want %d", i, got, w.Now(), s.want)
				}
			}
		})
	}
}

func TestRestoredWatermarkGoesOnWhereItWas(t *testing.T) {
	w := window.NewWatermark(2, 10)
	w.Observe(0, 100)
	w.Observe(1, 50)
	again := window.NewWatermark(2, 10)
	again.Restore(w.Now(), []int64{w.Max(0), w.Max(1)})
	for _, ts := range []int64{40, 60, 90, 500} {
		if want, got := w.Observe(1, ts), again.Observe(1, ts); got != want {
			t.Errorf("after %d the restored watermark is %d, want %d", ts, got, want)
		}
	}
}

// Whatever is observed, on whichever input, and whatever is restored with a
// larger bound: a watermark never goes back, and never passes what the inputs justify.
func FuzzWatermarkNeverGoesBack(f *testing.F) {
	f.Add([]byte{0, 100, 1, 50, 0, 20, 1, 200, 2, 0}, int64(10))
	f.Fuzz(func(t *testing.T, steps []byte, delay int64) {
		if delay %= 1000; delay < 0 {
			delay = -delay
		}
		w := window.NewWatermark(2, delay)
		last := w.Now()
		for ; len(steps) >= 2; steps = steps[2:] {
			input, ts := int(steps[0]&1), int64(steps[1])-128
			switch steps[0] >> 1 & 7 {
			case 7:
				w.End(input)
			case 6:
				maxima := []int64{w.Max(0), w.Max(1)}
				w = window.NewWatermark(2, delay+ts+128)
				w.Restore(last, maxima)
				delay += ts + 128
			default:
				if w.Max(input) != window.Forever {
					w.Observe(input, ts)
				}
			}
			if w.Now() < last {
				t.Fatalf("the watermark went back from %d to %d", last, w.Now())
			}
			last = w.Now()
			if low := min(w.Max(0), w.Max(1)); last > low && low != window.Forever {
				t.Fatalf("watermark %d is beyond the slowest input's %d", last, low)
			}
		}
	})
}
