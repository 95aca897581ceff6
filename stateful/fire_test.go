package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// clockTimer is a handler that sets a processing-time timer for each record, at the number of
// milliseconds of its value.
func clockTimer(now *time.Time, onTimer func(context.Context, *stateful.Tx, stateful.Timer) error) (*timed, func(*stateful.Config)) {
	h := &timed{adder: *sums()}
	h.after = func(_ context.Context, tx *stateful.Tx, rec *stateful.Record) error {
		return tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: now.UnixMilli() + 1000, Key: "k"})
	}
	h.onTimer = func(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
		if onTimer != nil {
			return onTimer(ctx, tx, t)
		}
		return say(tx, "out", "ring %s", t.Key)
	}
	return h, func(c *stateful.Config) { c.Now = func() time.Time { return *now } }
}

func TestProcessingTimersFireByTick(t *testing.T) {
	now := time.UnixMilli(0)
	h, at := clockTimer(&now, nil)
	r := newRig(t, h, at)
	r.send("a 1")
	r.tick() // what was published is trimmed, so that nothing else makes the next commit
	r.tick()
	r.want("out: a 1")
	now = now.Add(999 * time.Millisecond)
	r.tick()
	r.want("out: a 1")
	now = now.Add(time.Millisecond)
	r.tick()
	r.want("out: a 1", "out: ring k")
	r.restart()
	r.send()
	r.tick()
	r.want("out: a 1", "out: ring k")
}

func TestTimersThatCameDueWhileDownFireOnce(t *testing.T) {
	now := time.UnixMilli(0)
	h, at := clockTimer(&now, nil)
	r := newRig(t, h, at)
	r.send("a 1", "a 1")
	now = now.Add(time.Hour)
	for range 3 {
		r.restart()
		r.send()
		r.tick()
		r.want("out: a 1", "out: a 2", "out: ring k")
	}
}

func TestTimerThatFailsForGoodIsDeadLettered(t *testing.T) {
	now := time.UnixMilli(0)
	tries := 0
	h, at := clockTimer(&now, func(_ context.Context, tx *stateful.Tx, timer stateful.Timer) error {
		tries++
		tx.Put("trace", []byte("must be undone"))
		if err := say(tx, "out", "must be undone"); err != nil {
			return err
		}
		return errors.New("it cannot ring")
	})
	r := newRig(t, h, at)
	r.send("a 1")
	now = now.Add(time.Hour)
	r.tick()
	r.tick()
	r.want("out: a 1", "dead: ")
	if tries != 4 {
		t.Errorf("it was tried %d times, want 4", tries)
	}
	row := r.sink.rows[1]
	rec := stateful.Record{Headers: row.Headers}
	if when, _ := rec.Header(stateful.DeadLetterTime); string(row.Key) != "k" || when != "1970-01-01T00:00:01Z" {
		t.Errorf("the dead letter has key %q and time %q", row.Key, when)
	}
}

// eventTimer sets timers from values "TIME" (a watermark) or "at TIME KEY" (a timer).
func eventTimer(fired func(tx *stateful.Tx, t stateful.Timer) error) *timed {
	h := each(func(_ context.Context, tx *stateful.Tx, v string) error {
		var at int64
		var key string
		if _, err := fmt.Sscanf(v, "at %d %s", &at, &key); err == nil {
			return tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: at, Key: key})
		}
		if _, err := fmt.Sscanf(v, "now %d", &at); err != nil {
			return err
		}
		return observe(tx, at+1) // the watermark is one less
	})
	h.to = ""
	h.onTimer = func(_ context.Context, tx *stateful.Tx, t stateful.Timer) error { return fired(tx, t) }
	return &timed{adder: h.adder, onTimer: h.onTimer}
}

func rings(tx *stateful.Tx, t stateful.Timer) error { return say(tx, "out", "%d %s", t.Time, t.Key) }

// emitting is a handler whose records emit nothing and whose timers do.
type emitting struct{ *timed }

func (emitting) Outputs() []string { return []string{"out"} }

func TestEventTimers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		fired  func(tx *stateful.Tx, t stateful.Timer) error
		want   []string
	}{
		{"the same timer set twice fires once (T7)", []string{"at 5 a", "at 5 a", "at 5 b", "now 5", "now 9"}, nil, []string{"out: 5 a", "out: 5 b"}},
		{"it fires when the watermark reaches it", []string{"at 5 a", "now 4"}, nil, nil},
		{"they fire in order of time", []string{"at 7 a", "at 5 z", "at 6 m", "at -3 n", "now 7"}, nil, []string{"out: -3 n", "out: 5 z", "out: 6 m", "out: 7 a"}},
		{"one set for a time already passed fires in the same advance", []string{"at 5 a", "now 9"}, func(tx *stateful.Tx, timer stateful.Timer) error {
			if timer.Key == "a" {
				if err := tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: 3, Key: "late"}); err != nil {
					return err
				}
				if err := tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: 10, Key: "future"}); err != nil {
					return err
				}
			}
			return rings(tx, timer)
		}, []string{"out: 5 a", "out: 3 late"}},
		{"the watermark they see is the one that made them due", []string{"at 5 a", "now 9"}, func(tx *stateful.Tx, _ stateful.Timer) error {
			return say(tx, "out", "%d", tx.Watermark())
		}, []string{"out: 9"}},
		{"one that was deleted does not fire", []string{"at 5 a", "at 6 b", "now 9"}, func(tx *stateful.Tx, timer stateful.Timer) error {
			tx.DeleteTimer(stateful.Timer{Kind: stateful.EventTime, Time: 6, Key: "b"})
			return rings(tx, timer)
		}, []string{"out: 5 a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fired == nil {
				tt.fired = rings
			}
			for _, size := range []int{1, 100} {
				r := newRig(t, emitting{eventTimer(tt.fired)})
				for values := tt.values; len(values) > 0; values = values[min(size, len(values)):] {
					r.send(values[:min(size, len(values))]...)
				}
				r.restart()
				r.send()
				r.want(tt.want...)
			}
		})
	}
}

// T3: an advance that fires more than a commit may hold spans several; a crash between
// them repeats no firing and loses none, and no later record comes before its end.
func TestAdvanceOverSeveralCommits(t *testing.T) {
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("out: %d k%02d", 10+i/3, i))
	}
	for crash := range 14 {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("crash at commit %d, applied=%v", crash, applied), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := scripted(nil)
					var late []string
					h := eventTimer(rings)
					inner := h.before
					h.before = func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
						if string(rec.Value) == "now 200" && tx.Watermark() != 100 {
							late = append(late, fmt.Sprintf("the next record sees the watermark %d", tx.Watermark()))
						}
						return inner(ctx, tx, rec)
					}
					r := newRig(t, emitting{h}, func(c *stateful.Config) {
						c.Limits.CommitRows = 6
						b.Backend, c.Backend = c.Backend, b
					})
					for i := range 30 {
						r.send(fmt.Sprintf("at %d k%02d", 10+i/3, i))
					}
					_, before := b.count()
					b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
						switch {
						case crash == 0 || n-before < crash:
							return apply()
						case n-before == crash && applied:
							apply()
						}
						return failedPending{errDisk}
					}
					batch := r.batch("in", "now 100", "now 200")
					err := r.process(batch)
					if _, n := b.count(); crash > 0 && crash <= n-before && err == nil {
						t.Errorf("it was acknowledged although commit %d failed", crash)
					}
					for i, c := range b.commits {
						if len(c.Writes) > 6+4 {
							t.Errorf("commit %d has %d writes", i+1, len(c.Writes))
						}
					}
					b.submit = nil
					r.restart()
					if err := r.process(batch); err != nil {
						t.Fatal(err)
					}
					r.want(want...)
					wantLines(t, late)
				})
			})
		}
	}
}

func TestEndOfInputFiresEverything(t *testing.T) {
	r := newRig(t, emitting{eventTimer(rings)})
	r.send("at 5 a", "at 9000000000000 b")
	end := r.batch("in")
	end.EndOfInput = true
	for range 2 {
		if err := r.process(end); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	r.want("out: 5 a", "out: 9000000000000 b")
}
