package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/stateful"
)

// fickle is a value that some records make impossible to encode.
type fickle struct {
	n    byte
	how  string // "error" and "panic" are impossible
	made *int   // how often anything was encoded
}

func (v *fickle) AppendBinary(b []byte) ([]byte, error) {
	if v.made != nil {
		*v.made++
	}
	switch v.how {
	case "error":
		return append(b, v.n), errors.New("it has no bytes")
	case "panic":
		panic("it has no bytes")
	}
	return append(b, v.n), nil
}

func (v *fickle) UnmarshalBinary(d []byte) error { v.n = d[0]; return nil }

// tabled counts per key in a table, whose values are encoded by the commit. A record is "key", or "key how", or
// "key timer how" for what a timer makes of the value.
type tabled struct {
	timed
	table *stateful.Table[fickle]
	made  *int
	fail  func(value string) error // after the value was put
}

func (h *tabled) Instance(_ context.Context, t *stateful.Task) (stateful.Handler, error) {
	codec, err := stateful.NewStateCodec(stateful.StateCodecConfig[fickle]{})
	own := *h
	own.table = stateful.NewTable(t, "n", codec)
	return &own, err
}

func (h *tabled) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	key, how, _ := strings.Cut(string(rec.Value), " ")
	if how, ok := strings.CutPrefix(how, "timer "); ok {
		_, err := tx.Observe(0)
		return errors.Join(err, tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: -1000, Namespace: how, Key: key}))
	}
	if err := h.count(ctx, tx, key, how); err != nil || h.fail == nil {
		return err
	}
	return h.fail(string(rec.Value))
}

func (h *tabled) OnTimer(ctx context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return h.count(ctx, tx, t.Key, t.Namespace)
}

func (h *tabled) count(ctx context.Context, tx *stateful.Tx, key, how string) error {
	c, err := h.table.Load(ctx, []byte(key))
	if err != nil {
		return err
	}
	v, _ := c.Value()
	h.table.Put(c, fickle{n: v.n + 1, how: how, made: h.made})
	return say(tx, h.to, "%s %d", key, v.n+1)
}

func counts() *tabled {
	return &tabled{timed: timed{adder: *sums()}, made: new(int)}
}

// T2: a value that cannot be encoded is found when the commit is made, and is still the failure of the record, or
// of the firing, that put it; what others did stays.
func TestStateThatCannotBeEncodedIsItsRecords(t *testing.T) {
	for _, how := range []string{"error", "panic"} {
		for _, rows := range []int{1000, 2} {
			t.Run(fmt.Sprintf("%s/rows=%d", how, rows), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, counts(), func(c *stateful.Config) { c.Limits.CommitRows = rows })
					r.send("a")
					r.send("a", "b", "a "+how, "a", "b "+how, "c timer "+how, "c", "d timer fine")
					r.send("a", "b", "c", "d")
					want := []string{
						"out: a 1", "out: a 2", "out: b 1", "dead: a " + how, "out: a 3", "dead: b " + how, "dead: ", "out: c 1", "out: d 1",
						"out: a 4", "out: b 2", "out: c 2", "out: d 2",
					}
					r.want(want...)
					for _, row := range r.sink.rows {
						if i := slices.IndexFunc(row.Headers, func(h stateful.Header) bool { return h.Key == stateful.DeadLetterReason }); i >= 0 {
							if why := row.Headers[i].Value; !strings.Contains(why, "it has no bytes") {
								t.Errorf("the dead letter's reason is %q", why)
							}
						}
					}
					r.restart()
					r.send("a", "b", "c", "d")
					r.want(append(want, "out: a 5", "out: b 3", "out: c 3", "out: d 3")...)
				})
			})
		}
	}
}

func TestUnencodableStateOfPlainRecords(t *testing.T) {
	r := newRig(t, counts())
	for _, b := range []stateful.Batch{marked("1", "a"), marked("2", "a error"), marked("3", "a"), marked("2", "a error"), marked("3", "a")} {
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
	}
	r.want("out: a 1", "dead: a error", "out: a 2")
}

// Nothing takes it: its partition waits and says why, and what came before is committed.
func TestUnencodableStatePausesWithoutDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource("a", "b", "a error", "b")
		sys := runSystem(t, src, counts(), func(c *stateful.Config) { c.DeadLetterTo = "" })
		time.Sleep(time.Hour)
		synctest.Wait()
		wantErr(t, sys.p.Ready(), "record 2 of in/0", "encode state", "it has no bytes")
		sys.want("out: a 1", "out: b 1")
		if src.deliveries > 10 {
			t.Errorf("%d envelopes were delivered", src.deliveries)
		}
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The commit may be made in the middle of another record: before it waits for its next try.
func TestUnencodableStateIsNotTheNextRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := counts()
		tries := 0
		h.fail = func(value string) error {
			if value == "b" {
				if tries++; tries < 6 {
					return errors.New("later")
				}
			}
			return nil
		}
		r := newRig(t, h)
		r.policy(stateful.Policy{Retry: &stateful.Retry{Retries: 10, Base: time.Second, Max: time.Second}})
		r.send("a", "a error", "b", "a")
		r.want("out: a 1", "dead: a error", "out: b 1", "out: a 2")
	})
}

// Looking at each record's values costs an encoding each. It is done for the batch that has a value that
// cannot be encoded, and for no other.
func TestValuesAreEncodedOncePerCommit(t *testing.T) {
	h := counts()
	r := newRig(t, h)
	many := slices.Repeat([]string{"a"}, 100)
	encodings := func(values ...string) int {
		before := *h.made
		r.send(values...)
		return *h.made - before
	}
	if n := encodings(many...); n != 1 {
		t.Errorf("100 records of one key took %d encodings, want 1", n)
	}
	if n := encodings(append([]string{"b error"}, many...)...); n < 100 {
		t.Errorf("a bad record was found with %d encodings", n)
	}
	if n := encodings(many...); n != 1 {
		t.Errorf("after a bad record 100 records took %d encodings, want 1", n)
	}
}
