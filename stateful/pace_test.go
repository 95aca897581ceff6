package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/window"
)

// pacer reads event times and emits each with the watermark it meets. At every one it sets a timer,
// which emits too. What is open reaches up to the highest time there was.
type pacer struct {
	timed
	pace stateful.Pace
	high atomic.Int64
}

func (h *pacer) Pace() stateful.Pace { return h.pace }
func (h *pacer) FlushTo() int64 {
	if to := h.high.Load(); to > 0 {
		return to
	}
	return window.Never
}

// paced returns a pacer of "in" and others.
func paced(p stateful.Pace, others ...string) *pacer {
	h := &pacer{pace: p}
	h.timed = *each(func(_ context.Context, tx *stateful.Tx, v string) error {
		at, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return err
		}
		h.high.Store(max(h.high.Load(), at))
		wm := strconv.FormatInt(tx.Watermark(), 10)
		if tx.Watermark() == window.Never {
			wm = "-"
		}
		return errors.Join(
			observe(tx, at),
			tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: at, Key: "k"}),
			say(tx, "out", "%d at %s", at, wm))
	})
	h.inputs = append([]string{"in"}, others...)
	h.to = ""
	h.onTimer = func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		if tx.Flushing() {
			return say(tx, "out", "flush %d", timer.Time)
		}
		return say(tx, "out", "ring %d", timer.Time)
	}
	return h
}

func (h *pacer) Outputs() []string { return []string{"out"} }

// stepped is a rig whose clock moves by hand and that has a tick for every second.
type stepped struct {
	*rig
	now time.Time
}

func newStepped(t *testing.T, h stateful.Handler, change ...func(*stateful.Config)) *stepped {
	t.Helper()
	s := &stepped{now: time.UnixMilli(0)}
	s.rig = newRig(t, h, append(change, func(c *stateful.Config) { c.Now = func() time.Time { return s.now } })...)
	return s
}

// play does what a script says: "TOPIC:VALUE" sends, "Ns" lets N seconds pass with a tick after each, "Nh" N hours
// with one tick at the end, and "restart" goes on with another processor.
func (s *stepped) play(script string) {
	s.t.Helper()
	for _, word := range strings.Fields(script) {
		topic, value, sends := strings.Cut(word, ":")
		by, err := time.ParseDuration(word)
		switch {
		case sends:
			if err := s.process(s.batch(topic, value)); err != nil {
				s.t.Fatal(err)
			}
		case word == "restart":
			s.restart()
			if err := s.process(s.batch("in")); err != nil { // opens the task
				s.t.Fatal(err)
			}
		case err != nil:
			s.t.Fatal(err)
		case by >= time.Hour:
			s.now = s.now.Add(by)
			s.tick()
		default:
			for ; by > 0; by -= time.Second {
				s.now = s.now.Add(time.Second)
				s.tick()
			}
		}
	}
}

// Vectors 17 and 18, and what counts as silence (W2).
func TestIdleInputs(t *testing.T) {
	pace := stateful.Pace{IdleAfter: 5 * time.Second}
	// Each ends with an event of "in" that tells the watermark, and one of "other".
	for _, tt := range []struct {
		name   string
		script string
		last   []string // the outputs at the end
	}{
		{"silent for long enough", "in:51 other:11 4s in:51 1s in:60", []string{"60 at 50", "ring 51"}},
		{"not for long enough", "in:51 other:11 4s in:60", []string{"60 at 10"}},
		{"vector 17: it lags until it has caught up", "in:51 other:11 4s in:51 1s other:31 in:101 other:32 in:102", []string{"31 at 50", "ring 31", "101 at 50", "ring 51", "32 at 100", "ring 32", "102 at 100", "ring 101"}},
		{"vector 17: and then counts", "in:51 other:11 4s in:51 1s other:60 in:101 in:102", []string{"60 at 50", "101 at 50", "ring 51", "102 at 59"}},
		{"the decision outlives the process", "in:51 other:11 4s in:51 1s restart other:31 in:101 in:102", []string{"31 at 50", "ring 31", "101 at 50", "ring 51", "102 at 100", "ring 101"}},
		{"so does that it lags", "in:51 other:11 4s in:51 1s other:31 restart in:101 in:102", []string{"31 at 50", "ring 31", "101 at 50", "ring 51", "102 at 100", "ring 101"}},
		{"vector 18: all idle", "in:51 other:11 3s in:51 2s 2s 5s in:52", []string{"52 at 50", "ring 51"}},
		{"an event of old time is heard", "in:51 other:11 3s other:1 4s in:60", []string{"60 at 10"}},
		{"so is one that fails", "in:51 other:11 3s other:bad 4s in:60", []string{"dead: bad", "60 at 10"}},
		{"a restart begins anew", "in:51 other:11 4s restart 4s in:60", []string{"60 at 10"}},
		{"and then it is silent as before", "in:51 other:11 4s restart 4s in:51 1s in:60", []string{"60 at 50", "ring 51"}},
		{"what was not there could not hear", "in:51 other:11 1h in:60", []string{"60 at 10"}},
		{"and listens anew", "in:51 other:11 1h in:51 4s in:51 1s in:60", []string{"60 at 50", "ring 51"}},
		{"an input never heard", "in:51 4s in:51 1s in:60", []string{"60 at 50", "ring 51"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStepped(t, paced(pace, "other"))
			s.play(tt.script)
			got := s.sink.all()
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "out: ")
			}
			n := len(tt.last)
			if len(got) < n || !slices.Equal(got[len(got)-n:], tt.last) {
				t.Errorf("the outputs are %q, want them to end with %q", got, tt.last)
			}
		})
	}
}

// An input that is heard again, and still lags, may fall idle again.
func TestALaggingInputFallsIdleAgain(t *testing.T) {
	s := newStepped(t, paced(stateful.Pace{IdleAfter: 5 * time.Second}, "other", "third"))
	s.play("in:51 other:11 third:301 4s in:51 1s other:31 2s 2s 1s in:302")
	if got, want := s.sink.all(), "out: 302 at 300"; !slices.Contains(got, want) {
		t.Errorf("the outputs are %q, want %q among them", got, want)
	}
}

// A crash keeps a decision that was committed and drops one that was not.
func TestIdleDecisionIsPartOfACommit(t *testing.T) {
	for _, lost := range []bool{false, true} {
		b := scripted(memory.New())
		s := newStepped(t, paced(stateful.Pace{IdleAfter: 5 * time.Second}, "other"), func(c *stateful.Config) { c.Backend = b })
		s.play("in:51 other:11 4s in:51")
		b.submit = func(_ int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
			if !lost {
				if err := apply().Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
			return failedPending{stateful.ErrCommitUnknown}
		}
		s.now = s.now.Add(time.Second)
		if err := s.p.Tick(canceled(s.ctx), "each"); !errors.Is(err, stateful.ErrCommitUnknown) {
			t.Fatalf("the tick gave %v", err)
		}
		b.submit = nil
		s.tick() // opens the task, which begins to listen: nothing is decided
		s.play("other:31 in:61")
		got := s.sink.all()
		if want := map[bool]string{false: "out: 61 at 50", true: "out: 61 at 30"}[lost]; !slices.Contains(got, want) {
			t.Errorf("lost=%v: the outputs are %q, want %q among them", lost, got, want)
		}
	}
}

// canceled returns a context that is done, so that nothing waits after a fault.
func canceled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// F1: a task that waits hears nothing, and what it did not hear was not silence.
func TestAPauseIsNotIdleness(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait func(r *rig, h *pacer) // for 6 seconds
	}{
		{"a retry", func(r *rig, h *pacer) {
			inner, failed := h.before, false
			h.before = func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
				if !failed {
					failed = true
					return errors.New("not yet")
				}
				return inner(ctx, tx, rec)
			}
			r.policy(stateful.Policy{Retry: &stateful.Retry{Retries: 1, Base: 6 * time.Second, Max: 6 * time.Second}})
			if err := r.process(r.batch("in", "60")); err != nil {
				r.t.Fatal(err)
			}
		}},
		{"a full outbox", func(r *rig, _ *pacer) {
			r.sink.hold()
			if err := r.process(r.batch("in", "60")); err != nil {
				r.t.Fatal(err)
			}
			time.AfterFunc(6*time.Second, r.sink.release)
			if err := r.process(r.batch("in", "61")); err != nil {
				r.t.Fatal(err)
			}
		}},
		{"nothing but time", func(r *rig, _ *pacer) {
			time.Sleep(6 * time.Second)
			if err := r.process(r.batch("in", "60")); err != nil {
				r.t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := paced(stateful.Pace{IdleAfter: 5 * time.Second}, "other")
				r := newRig(t, h, func(c *stateful.Config) { c.Now, c.Limits.OutboxRows = time.Now, 1 })
				for _, b := range []stateful.Batch{r.batch("in", "51"), r.batch("other", "11")} {
					if err := r.process(b); err != nil {
						t.Fatal(err)
					}
				}
				tt.wait(r, h)
				r.tick()
				r.send("70")
				idle := r.sink.all()[len(r.sink.all())-1] != "out: 70 at 10"
				if want := tt.name == "nothing but time"; idle != want {
					t.Errorf("idle is %v, want %v: %q", idle, want, r.sink.all())
				}
			})
		})
	}
}

// byHand is a source whose batches a test passes; its logs end where the test says.
type byHand struct {
	message.Subscriber
	behind map[string]bool // topics
	asked  []string
}

func (*byHand) Traits() stateful.SourceTraits {
	return stateful.SourceTraits{Position: true, Seek: true, StableID: true, FIFO: true, Partitions: 1}
}

func (s *byHand) AtEnd(p stateful.Partition, pos stateful.Position) bool {
	s.asked = append(s.asked, fmt.Sprint(p, " ", pos))
	return !s.behind[p.Topic]
}

// W2: an input that lags is not silent, nor is one that only just caught up.
func TestWhatLagsIsNotIdle(t *testing.T) {
	src := &byHand{behind: map[string]bool{"other": true}}
	h := paced(stateful.Pace{IdleAfter: 5 * time.Second, FlushAfter: 5 * time.Second}, "other")
	s := newStepped(t, h, func(c *stateful.Config) { c.Source = src })
	s.play("in:51 other:11 20s in:60")
	if want := []string{"in/0 {log-1 1}", "other/0 {log-1 1}"}; !slices.Equal(src.asked[:2], want) {
		t.Errorf("the source was asked about %q, want %q", src.asked[:2], want)
	}
	src.behind["other"] = false
	s.play("4s in:61")
	s.want("out: 51 at -", "out: 11 at -", "out: 60 at 10", "out: 61 at 10")
	s.play("1s in:62")
	s.want("out: 51 at -", "out: 11 at -", "out: 60 at 10", "out: 61 at 10", "out: ring 11", "out: ring 51", "out: ring 60", "out: 62 at 60", "out: ring 61")
}

func TestFlushOfATask(t *testing.T) {
	s := newStepped(t, paced(stateful.Pace{FlushAfter: 5 * time.Second}, "other"))
	s.play("in:51 other:11 4s in:40 4s other:12 4s")
	s.want("out: 51 at -", "out: 11 at -", "out: 40 at 10", "out: 12 at 10", "out: ring 11")
	s.play("1s 9s other:13 in:70 other:80 in:71")
	s.want("out: 51 at -", "out: 11 at -", "out: 40 at 10", "out: 12 at 10", "out: ring 11",
		"out: flush 12", "out: flush 40", "out: flush 51", // up to the highest there was, once
		"out: 13 at 51", "out: ring 13", "out: 70 at 51", "out: 80 at 51", "out: 71 at 69", "out: ring 70")
}

func TestPaceIsChecked(t *testing.T) {
	off := time.Duration(-1)
	for _, tt := range []struct {
		name   string
		own    stateful.Pace
		config stateful.Pace
		ticks  time.Duration
		blind  bool // the source does not know where its logs end
		want   []string
	}{
		{name: "nothing is set"},
		{name: "all are set", own: stateful.Pace{IdleAfter: time.Second, FlushAfter: time.Minute, MaxSkew: time.Hour}},
		{name: "no ticks", own: stateful.Pace{IdleAfter: time.Second}, ticks: -1, want: []string{"TickEvery"}},
		{name: "no ticks, and none needed", own: stateful.Pace{MaxSkew: time.Second}, ticks: -1},
		{name: "a source that is blind", config: stateful.Pace{FlushAfter: time.Second}, blind: true, want: []string{"EndTeller", "leave them 0"}},
		{name: "a source that is blind and a handler that does not look", own: stateful.Pace{FlushAfter: off}, config: stateful.Pace{FlushAfter: time.Second}, blind: true},
		{name: "less than a millisecond", own: stateful.Pace{IdleAfter: 1, MaxSkew: 1500 * time.Microsecond}, want: []string{"IdleAfter 1ns", "MaxSkew 1.5ms", "round"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var src message.Subscriber = &byHand{}
			if tt.blind {
				src = blind{}
			}
			p := newProcessor(t, func(c *stateful.Config) {
				c.Source, c.Outbox, c.Pace, c.TickEvery = src, newSink(), tt.config, tt.ticks
			})
			err := p.AddTo(newRouter(t), paced(tt.own, "other"))
			if len(tt.want) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantErr(t, err, tt.want...)
		})
	}
}

type blind struct{ message.Subscriber }

func (blind) Traits() stateful.SourceTraits { return (&byHand{}).Traits() }

// W2: the guarantee says where the clock decides.
func TestGuaranteeNamesTheClock(t *testing.T) {
	for _, tt := range []struct {
		name   string
		h      stateful.Handler
		limits stateful.Limits
		want   string
	}{
		{"nothing", paced(stateful.Pace{}, "other"), stateful.Limits{}, ""},
		{"idle inputs", paced(stateful.Pace{IdleAfter: time.Second}, "other"), stateful.Limits{}, `IdleAfter or FlushAfter of "each"`},
		{"one input is never idle", paced(stateful.Pace{IdleAfter: time.Second}), stateful.Limits{}, ""},
		{"flushes", paced(stateful.Pace{FlushAfter: time.Second}), stateful.Limits{}, `IdleAfter or FlushAfter of "each"`},
		{"skew", paced(stateful.Pace{MaxSkew: time.Second}, "other"), stateful.Limits{}, ""},
		{"a future by the clock", paced(stateful.Pace{}), stateful.Limits{FutureByClock: true}, "FutureByClock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.h, func(c *stateful.Config) { c.Limits, c.Delivery = tt.limits, stateful.DeliverExactlyOnce })
			g := r.p.Guarantee()
			if g.Level != stateful.ExactlyOnce || len(g.Reasons) > 1 || !strings.Contains(strings.Join(g.Reasons, ""), tt.want) || tt.want == "" && len(g.Reasons) > 0 {
				t.Errorf("the guarantee is %v, want exactly once with %q", g, tt.want)
			}
		})
	}
}

// W4: a time too far in the future is dead-lettered or clamped; over the clock only when asked.
func TestTimesInTheFuture(t *testing.T) {
	const clock = 5000 // ms; the records' own time is 1000
	for _, tt := range []struct {
		name   string
		limits stateful.Limits
		at     int64
		want   int64 // the time that counts, 0: none
	}{
		{"at the bound", stateful.Limits{}, 2000, 2000},
		{"beyond it", stateful.Limits{}, 2001, 0},
		{"clamped", stateful.Limits{FutureClamp: true}, 2001, 2000},
		{"the clock allows more", stateful.Limits{FutureByClock: true}, 6000, 6000},
		{"beyond the clock's", stateful.Limits{FutureByClock: true}, 6001, 0},
		{"clamped to the clock's", stateful.Limits{FutureByClock: true, FutureClamp: true}, 6001, 6000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var counts, watermark int64
			h := each(func(_ context.Context, tx *stateful.Tx, v string) (err error) {
				if v == "look" {
					watermark = tx.Watermark()
					return nil
				}
				counts, err = tx.Observe(tt.at)
				return err
			})
			h.to = ""
			tt.limits.Future = time.Second
			now := time.UnixMilli(clock)
			r := newRig(t, h, func(c *stateful.Config) {
				c.Limits = tt.limits
				c.Now = func() time.Time { return now }
			})
			b := r.batch("in", "event")
			b.Records[0].Time = 1000
			if err := r.process(b); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour) // what was decided is stored
			r.restart()
			r.send("look")
			wm := int64(window.Never)
			if tt.want != 0 {
				wm = tt.want - 1
			}
			if dead := len(r.sink.all()); counts != tt.want || watermark != wm || (dead == 1) != (tt.want == 0) {
				t.Errorf("the time that counts is %d and the watermark %d, want %d and %d; %d dead letters", counts, watermark, tt.want, wm, dead)
			}
		})
	}
}
