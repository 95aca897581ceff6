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
	again.Restore(w.Now())
	for i := range 2 {
		again.RestoreInput(i, w.Max(i), w.State(i))
	}
	for _, ts := range []int64{40, 60, 90, 500} {
		if want, got := w.Observe(1, ts), again.Observe(1, ts); got != want {
			t.Errorf("after %d the restored watermark is %d, want %d", ts, got, want)
		}
	}
}

// What FuzzWatermark does to a watermark.
type deed struct {
	what  byte
	input int
	ts    int64
}

func (d deed) do(w *window.Watermark) int64 {
	switch {
	case w.Max(d.input) == window.Forever:
		return w.Now()
	case d.what == 7:
		return w.End(d.input)
	case d.what == 6 || d.what == 5:
		return w.Idle(d.input)
	case d.what == 4:
		return w.Flush(d.ts)
	}
	return w.Observe(d.input, d.ts)
}

// Whatever is observed, said to be idle, ended or flushed, on whichever input: a watermark never goes
// back; it stays below what the counted inputs justify, unless it was flushed or was
// there already; and one that is restored at any moment goes on alike.
func FuzzWatermark(f *testing.F) {
	f.Add([]byte{0, 100, 1, 50, 0, 20, 1, 200, 2, 0}, int64(10))
	f.Add([]byte{0, 51, 1, 11, 19, 0, 1, 31, 0, 81, 1, 90, 18, 0, 19, 0}, int64(0))
	f.Fuzz(func(t *testing.T, steps []byte, delay int64) {
		const inputs = 3
		if delay %= 1000; delay < 0 {
			delay = -delay
		}
		w := window.NewWatermark(inputs, delay)
		for ; len(steps) >= 2; steps = steps[2:] {
			last := w.Now()
			again := window.NewWatermark(inputs, delay)
			again.Restore(last)
			for i := range inputs {
				again.RestoreInput(i, w.Max(i), w.State(i))
			}
			d := deed{what: steps[0] / 3 & 7, input: int(steps[0] % 3), ts: int64(steps[1]) - 128}
			now, restored := d.do(w), d.do(again)
			if now != w.Now() || now != restored {
				t.Fatalf("%+v gives %d, Now is %d, and %d once restored", d, now, w.Now(), restored)
			}
			if now < last {
				t.Fatalf("%+v: the watermark went back from %d to %d", d, last, now)
			}
			if now == last || d.what == 4 {
				continue
			}
			for i := range inputs {
				if w.State(i) == window.Counted && w.Max(i) != window.Forever && now > w.Max(i)-delay-1 {
					t.Fatalf("%+v: watermark %d is beyond what input %d justifies, whose highest time is %d", d, now, i, w.Max(i))
				}
			}
		}
	})
}
