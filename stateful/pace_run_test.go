package stateful_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

func wallClock(c *stateful.Config) { c.Now = time.Now }

// times returns the event times from, from+step and so on, n of them.
func times(from, step, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(from+i*step))
	}
	return out
}

// handled returns the event times that were handled, in order, those of one input by its parity: "in" has even ones.
func handled(s *sink, odd bool) []string {
	var out []string
	for _, line := range s.all() {
		at, _, event := strings.Cut(strings.TrimPrefix(line, "out: "), " at ")
		if event && strings.ContainsAny(at[len(at)-1:], "13579") == odd {
			out = append(out, at)
		}
	}
	return out
}

// O7: an input that is ahead waits, in its order and with nothing lost, while the others go on, and so do
// other tasks.
func TestInputAheadWaitsForTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(times(10, 10, 100)...)
		src.inFlight, src.size = 2, 2
		src.add("in", 1, times(10, 10, 50)...)
		src.add("other", 0, "1")
		src.add("other", 1, times(5, 10, 50)...)
		h := paced(stateful.Pace{MaxSkew: 100 * time.Millisecond}, "other")
		ended := make(map[int32]int)
		inner := h.before
		h.before = func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
			if p := tx.Task().ID().Partition; p != 0 {
				ended[p]++
				return observe(tx, tx.Watermark()) // it says nothing
			}
			return inner(ctx, tx, rec)
		}
		s := runSystem(t, src, h, wallClock)
		const slack = 2 * 2 * 10 // what was under way
		for at := 1; at <= 901; at += 50 {
			src.add("other", 0, fmt.Sprint(at))
			time.Sleep(100 * time.Millisecond)
			in, other := handled(s.sink, false), handled(s.sink, true)
			if got := other[len(other)-1]; got != fmt.Sprint(at) {
				t.Fatalf("the slow input is at %s, want %d", got, at)
			}
			var high int
			if _, err := fmt.Sscan(in[len(in)-1], &high); err != nil {
				t.Fatal(err)
			}
			if want := min(1000, at+100); high < want-9 || high > want+slack {
				t.Errorf("with the slow input at %d the fast one is at %d, want %d, or %d more", at, high, want, slack)
			}
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if got := handled(s.sink, false); !slices.Equal(got, times(10, 10, 100)) {
			t.Errorf("the fast input gave %q", got)
		}
	})
}

// An idle input lets the others go, and so does one that ended.
func TestSilentInputLetsTheOthersGo(t *testing.T) {
	for _, ends := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			src := newSource(times(10, 10, 100)...)
			src.add("other", 0, "1")
			src.ends = ends
			h := paced(stateful.Pace{MaxSkew: 100 * time.Millisecond, IdleAfter: 5 * time.Second}, "other")
			s := runSystem(t, src, h, wallClock)
			time.Sleep(4500 * time.Millisecond)
			if got := len(handled(s.sink, false)); (got == 100) != ends {
				t.Errorf("ends=%v: %d records were handled before the other input is idle", ends, got)
			}
			time.Sleep(time.Second)
			if got := handled(s.sink, false); !slices.Equal(got, times(10, 10, 100)) {
				t.Errorf("ends=%v: the fast input gave %q", ends, got)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// watch returns a function that checks that all that src delivered, at least the first time, is acked
// or nacked, and counts what is nacked.
func watch(t *testing.T, src *source) func() int {
	var mu sync.Mutex
	var delivered []*message.Message
	src.touch = func(_ int, msg *message.Message) *message.Message {
		mu.Lock()
		defer mu.Unlock()
		delivered = append(delivered, msg)
		return msg
	}
	return func() int {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		n, first := 0, make(map[string]bool)
		for _, msg := range delivered {
			if first[msg.UUID] {
				continue // the source may have been about to deliver it again when it ended
			}
			first[msg.UUID] = true
			select {
			case <-msg.Acked():
			case <-msg.Nacked():
				n++
			default:
				t.Errorf("%s is neither acked nor nacked", msg.UUID)
			}
		}
		return n
	}
}

// What is held back goes back to its source when the run ends, and is handled by the next.
func TestWhatIsHeldBackIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(times(10, 10, 30)...)
		src.add("other", 0, "1")
		h := paced(stateful.Pace{MaxSkew: 100 * time.Millisecond}, "other")
		nacked := watch(t, src)
		s := runSystem(t, src, h, wallClock)
		time.Sleep(time.Second)
		begun := time.Now()
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the end took %v", took)
		}
		n := len(handled(s.sink, false))
		if n == 30 || nacked() == 0 {
			t.Fatal("nothing was held back")
		}
		s.start()
		time.Sleep(time.Second)
		if got := len(handled(s.sink, false)); got != n {
			t.Errorf("%d records were handled by a task that is opened with its input ahead", got-n)
		}
		src.add("other", 0, "301")
		time.Sleep(time.Second)
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if got := handled(s.sink, false); !slices.Equal(got, times(10, 10, 30)) {
			t.Errorf("the fast input gave %q", got)
		}
	})
}

// A nack of what came before does not leave behind what is held back.
func TestWhatIsHeldBackFollowsANack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(times(10, 10, 30)...)
		src.add("other", 0, "1")
		h := paced(stateful.Pace{MaxSkew: 50 * time.Millisecond}, "other")
		failed := false
		inner := h.before
		h.before = func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
			if string(rec.Value) == "30" && !failed {
				failed = true
				return fmt.Errorf("not yet")
			}
			return inner(ctx, tx, rec)
		}
		s := &system{rig: newRig(t, h, wallClock, func(c *stateful.Config) { c.Source = src }), src: src}
		s.start()
		for at := range 31 {
			src.add("other", 0, fmt.Sprint(10*at+1))
			time.Sleep(time.Second)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if got := handled(s.sink, false); !failed || !slices.Equal(got, times(10, 10, 30)) {
			t.Errorf("the fast input gave %q", got)
		}
	})
}

// stock are plain subscribers by topic.
type stock map[string]plain

func (s stock) Close() error { return nil }
func (s stock) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s[topic].Subscribe(ctx, topic)
}

func (s stock) send(topic, value string) {
	s[topic] <- message.NewMessage(watermill.NewUUID(), []byte(value))
}

// A plain subscriber has read all when nothing of its topic is in hand.
func TestPlainInputsFallIdle(t *testing.T) {
	for _, inHand := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			src := stock{"in": make(plain), "other": make(plain)}
			h := paced(stateful.Pace{IdleAfter: 5 * time.Second}, "other")
			s := &system{rig: newRig(t, h, wallClock, func(c *stateful.Config) { c.Source = src })}
			begun := time.Now()
			s.start(func(h message.HandlerFunc) message.HandlerFunc {
				return func(msg *message.Message) ([]*message.Message, error) {
					if b, _ := stateful.BatchFrom(msg.Context()); len(b.Records) == 0 && time.Since(begun) >= 5*time.Second {
						time.Sleep(700 * time.Millisecond) // the tick waits for its turn
					}
					return h(msg)
				}
			})
			src.send("in", "52")
			src.send("other", "11")
			time.Sleep(4*time.Second + 500*time.Millisecond)
			src.send("in", "54") // at 4.5 s
			time.Sleep(time.Second)
			if inHand {
				src.send("other", "12") // at 5.5 s: behind the tick of 5 s, which decides at 5.7 s
			}
			src.send("in", "56")
			time.Sleep(400 * time.Millisecond)
			src.send("in", "58")
			time.Sleep(2 * time.Second)
			want := "out: 58 at 55"
			if inHand {
				want = "out: 58 at 11"
			}
			if got := s.sink.all(); !slices.Contains(got, want) {
				t.Errorf("in hand=%v: the outputs are %q, want %q among them", inHand, got, want)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// O7: what is held back is not silent, so nothing is flushed over its head.
func TestInputAheadIsNotSilent(t *testing.T) {
	for _, skew := range []time.Duration{0, 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			src := stock{"in": make(plain), "other": make(plain)}
			h := paced(stateful.Pace{FlushAfter: 5 * time.Second, MaxSkew: skew}, "other")
			s := runSystem(t, src, h, wallClock)
			src.send("other", "1")
			src.send("in", "500")
			time.Sleep(time.Second)
			src.send("in", "502")
			time.Sleep(30 * time.Second)
			flushed := slices.Contains(s.sink.all(), "out: flush 500")
			if flushed != (skew == 0) {
				t.Errorf("with a skew of %v flushed is %v: %q", skew, flushed, s.sink.all())
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// S4: what is held back for a task that is revoked goes back at once, also when a batch under way
// finds its input ahead just then.
func TestRevokedTaskHoldsNothingBack(t *testing.T) {
	for range 50 {
		synctest.Test(t, revokeWhatIsAhead)
	}
}

func revokeWhatIsAhead(t *testing.T) {
	src := newSource(times(10, 10, 30)...)
	src.add("other", 0, "1")
	nacked := watch(t, src)
	s := runSystem(t, src, paced(stateful.Pace{MaxSkew: 50 * time.Millisecond}, "other"), wallClock)
	time.Sleep(time.Second)
	src.mu.Lock()
	src.revoked = true
	src.mu.Unlock()
	if err := src.owner.Revoked(t.Context(), []stateful.Partition{{Topic: "in"}, {Topic: "other"}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if nacked() == 0 {
		t.Error("nothing was held back")
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
