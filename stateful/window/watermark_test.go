package window_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful/window"
)

// A script is words "INPUT@TIME>WATERMARK", with a deed (idle, end, flush) in the place of a time
// where it is none, and "-" for a watermark that has not begun.
func play(t *testing.T, w *window.Watermark, script string) {
	t.Helper()
	for _, word := range strings.Fields(script) {
		do, want, _ := strings.Cut(word, ">")
		in, what, _ := strings.Cut(do, "@")
		input, err := strconv.Atoi(in)
		if err != nil {
			t.Fatal(err)
		}
		var got int64
		switch {
		case what == "idle":
			got = w.Idle(input)
		case what == "end":
			got = w.End(input)
		case strings.HasPrefix(what, "flush"):
			got = w.Flush(number(t, what[len("flush"):]))
		default:
			got = w.Observe(input, number(t, what))
		}
		if wm := number(t, want); got != wm || w.Now() != wm {
			t.Errorf("after %s of %q the watermark is %d, Now %d, want %d", do, script, got, w.Now(), wm)
		}
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	switch s {
	case "-":
		return window.Never
	case "end":
		return window.Forever
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWatermark(t *testing.T) {
	const first = window.Never
	for _, tt := range []struct {
		name   string
		inputs int
		delay  int64
		script string
	}{
		{"vector 16: bound 20 and 100 give 79", 1, 20, "0@100>79"},
		{"vectors 11 and 12: 10 closes what 9 does not", 1, 0, "0@3>2 0@9>8 0@10>9 0@5>9"},
		{"vector 13: 15 has passed 14, and 14 has not", 1, 0, "0@3>2 0@14>13 0@5>13 0@15>14"},
		{"vector 23: one event may pass many", 1, 0, "0@3>2 0@35>34"},
		{"without a bound the millisecond before is closed", 1, 0, "0@10>9"},
		{"an older event does not move it", 1, 0, "0@10>9 0@3>9"},
		{"an input that was never heard holds it back", 2, 0, "0@100>- 1@5>4"},
		{"the slowest input counts", 2, 0, "0@100>- 1@50>49 1@200>99"},
		{"an ended input no longer counts", 2, 0, "0@100>- 1@end>99 0@120>119"},
		{"all inputs ended is the end of time", 2, 5, "0@end>- 1@end>end"},
		{"the first times there are do not overflow", 1, 10, fmt.Sprintf("0@%d>- 0@%d>%d", int64(first+3), int64(first+12), int64(first+1))},

		{"vector 17: an idle input leaves, and counts once it has caught up", 2, 0, "0@51>- 1@11>10 1@idle>50 1@31>50 0@81>80 1@80>80 1@81>80 0@91>80 1@95>90"},
		{"vector 18: when all are idle the highest counts", 2, 0, "0@51>- 1@11>10 1@idle>50 0@idle>50"},
		{"so it does when the slowest is the last", 2, 0, "0@51>- 1@11>10 0@idle>10 1@idle>50"},
		{"an input that is ahead counts as soon as it is heard", 2, 0, "0@51>- 1@11>10 0@idle>10 0@52>10 1@100>51"},
		{"an old event too ends idleness", 2, 0, "0@51>- 1@11>10 0@idle>10 0@1>10 1@100>50"},
		{"one that lags is not idle: the others do not flush", 2, 0, "0@51>- 1@11>10 1@idle>50 0@101>100 1@31>100 0@idle>100 0@201>200"},
		{"not even to what an idle one has ahead", 3, 0, "0@51>- 1@11>- 2@301>10 1@idle>50 1@31>50 2@idle>50 0@idle>50 1@61>60"},
		{"and when it falls idle again they do", 3, 0, "0@51>- 1@11>- 2@301>10 1@idle>50 1@31>50 0@idle>300"},
		{"an input that was never heard may be idle", 2, 0, "0@51>- 1@idle>50 0@101>100"},
		{"all idle and never heard is no time", 2, 0, "0@idle>- 1@idle>- 0@5>4"},
		{"one input alone has nobody to leave", 1, 0, "0@51>50 0@idle>50 0@61>60"},
		{"an ended input is not the highest of idle ones", 2, 0, "0@51>- 1@end>50 0@idle>50 0@61>60"},
		{"the last one ends while the others are idle", 3, 0, "0@51>- 1@31>- 2@11>10 0@idle>10 1@idle>10 2@end>50"},
		{"an ended input is not idle", 2, 0, "0@51>- 1@end>50 1@idle>50 0@end>end"},

		{"a flush moves it, and never back", 1, 0, "0@51>50 0@flush99>99 0@flush20>99 0@61>99 0@101>100"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, window.NewWatermark(tt.inputs, tt.delay), tt.script)
		})
	}
}

func TestAhead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script string
		want   []int64 // by input
	}{
		{"the slowest is not ahead", "0@51>- 1@11>- 2@21>10", []int64{40, 0, 10}},
		{"of one that was never heard all are", "0@51>- 1@11>-", []int64{window.Forever, window.Forever, 0}},
		{"of an idle one nobody is", "0@51>- 1@11>- 2@21>10 1@idle>20", []int64{30, 0, 0}},
		{"of one that ended nobody is", "0@51>- 1@11>- 2@21>10 1@end>20", []int64{30, 0, 0}},
		{"one that lags is heard", "0@51>- 1@11>- 2@61>10 1@idle>50 1@21>50", []int64{30, 0, 40}},
		{"alone", "0@51>- 1@end>- 2@end>50", []int64{0, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := window.NewWatermark(3, 0)
			play(t, w, tt.script)
			for i, want := range tt.want {
				if got := w.Ahead(i); got != want {
					t.Errorf("input %d is %d ahead, want %d", i, got, want)
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
