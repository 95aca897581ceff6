package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful"
)

// each is a handler that is one function. What it emits itself is "x 0".
func each(f func(ctx context.Context, tx *stateful.Tx, value string) error) *timed {
	return &timed{adder: adder{
		name: "each", inputs: []string{"in"}, to: "out", value: "x 0",
		before: func(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
			return f(ctx, tx, string(rec.Value))
		},
	}}
}

func TestEmptyValueIsNotADelete(t *testing.T) {
	first := true
	r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, v string) error {
		if first { // nothing was written before in this processor: its buffers are empty
			first = false
			tx.Put("empty", []byte{})
			return nil
		}
		b, err := tx.Get(ctx, "empty")
		return errors.Join(err, say(tx, "out", "%v", b != nil))
	}))
	for _, v := range []string{"put", "get"} {
		b := r.batch("in", v)
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	r.want("out: x 0", "out: true", "out: x 0")
}

func TestTransactionReadsWhatItWrote(t *testing.T) {
	var got []string
	see := func(ctx context.Context, tx *stateful.Tx) {
		line := ""
		for e, err := range tx.Scan(ctx, "a", "d") {
			if err != nil {
				t.Error(err)
			}
			line += e.Key + "=" + string(e.Value) + " "
		}
		got = append(got, line)
	}
	r := newRig(t, each(func(ctx context.Context, tx *stateful.Tx, v string) error {
		switch v {
		case "one":
			tx.Put("a", []byte("1"))
			tx.Put("c", []byte("1"))
			tx.Put("d", []byte("1"))
		case "two":
			tx.Put("b", []byte("2"))
			tx.Put("c", []byte("2"))
			tx.Delete("a")
		case "bad":
			tx.Put("a", []byte("3"))
			tx.Put("b", []byte("3"))
			tx.Put("bb", []byte("3"))
			tx.Delete("c")
			see(ctx, tx)
			return stateful.Permanent(errors.New("bad"))
		}
		see(ctx, tx)
		return nil
	}))
	r.send("one")
	r.send("two", "bad", "look")
	r.restart()
	r.send("look")
	want := []string{"a=1 c=1 ", "b=2 c=2 ", "a=3 b=3 bb=3 ", "b=2 c=2 ", "b=2 c=2 "}
	if !slices.Equal(got, want) {
		t.Errorf("scans saw %q, want %q", got, want)
	}
}

// T2: what a record did before it failed is gone: state, outputs, timers and watermark.
func TestFailedRecordLeavesNoTrace(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"permanent", stateful.Permanent(errors.New("no"))},
		{"exhausted", errors.New("no")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var fired []string
			var marks []int64
			h := each(func(_ context.Context, tx *stateful.Tx, v string) error {
				marks = append(marks, tx.Watermark())
				if v != "bad" {
					return observe(tx, 100)
				}
				tx.Put("x", []byte("999"))
				tx.Put("only bad", []byte("1"))
				if err := errors.Join(
					tx.SetTimer(stateful.Timer{Kind: stateful.EventTime, Time: 50, Key: "bad"}),
					tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: 0, Key: "bad"}),
					say(tx, "out", "bad"), observe(tx, 1000)); err != nil {
					return err
				}
				return tt.err
			})
			h.onTimer = func(_ context.Context, _ *stateful.Tx, timer stateful.Timer) error {
				fired = append(fired, timer.Key)
				return nil
			}
			r := newRig(t, h)
			r.send("good", "bad", "good")
			r.tick()
			r.want("out: x 0", "dead: bad", "out: x 0")
			if len(fired) > 0 {
				t.Errorf("timers of the failed record fired: %q", fired)
			}
			if last := marks[len(marks)-1]; last != 99 {
				t.Errorf("the watermark is %d, want that of the good record, 99", last)
			}
		})
	}
}

func TestUndeclaredOutputIsRefused(t *testing.T) {
	r := newRig(t, each(func(_ context.Context, tx *stateful.Tx, v string) error {
		if v == "bad" {
			return say(tx, "elsewhere", "x")
		}
		return nil
	}))
	r.send("good", "bad")
	r.want("out: x 0", "dead: bad")
	r.send("good")
	r.tick()
	r.restart()
	r.sink = newSink()
	r.cfg.Outbox = r.sink
	r.restart()
	r.send()
	r.want() // all were trimmed
}

func TestOutputsAreNumberedWithoutGaps(t *testing.T) {
	fail := true
	r := newRig(t, each(func(_ context.Context, tx *stateful.Tx, v string) error {
		for i := range 3 {
			if err := say(tx, "out", "%s %d", v, i); err != nil {
				return err
			}
		}
		if v == "b" && fail {
			fail = false
			return errors.New("once")
		}
		return nil
	}))
	r.send("a", "b")
	r.restart()
	r.send("c")
	for i, row := range r.sink.rows {
		if row.Seq != uint64(i+1) {
			t.Errorf("row %d has sequence %d", i, row.Seq)
		}
	}
	if len(r.sink.rows) != 12 {
		t.Errorf("there are %d rows", len(r.sink.rows))
	}
}

func TestLimitsOfRecords(t *testing.T) {
	r := newRig(t, sums(), func(c *stateful.Config) { c.Limits.RecordBytes, c.Limits.KeyBytes = 8, 4 })
	b := r.batch("in", "a 1", "a 1000000", "a 2", "a 3")
	b.Records[2].Key = []byte("12345")
	if err := r.process(b); err != nil {
		t.Fatal(err)
	}
	r.want("out: a 1", "dead: a 1000000", "dead: a 2", "out: a 4")
	wantReason(t, r, 1, "record has 9 bytes")
}

// T3: many dead letters are many rows, and a commit's rows are capped.
func TestDeadLettersCountAgainstTheCommitsLimit(t *testing.T) {
	b := scripted(nil)
	r := newRig(t, sums(), func(c *stateful.Config) {
		c.Limits.CommitRows = 4
		b.Backend, c.Backend = c.Backend, b
	})
	var values []string
	for i := range 40 {
		values = append(values, fmt.Sprintf("bad%d", i))
	}
	r.send(values...)
	for _, c := range b.commits {
		if len(c.Writes) > 6 {
			t.Errorf("a commit has %d writes", len(c.Writes))
		}
	}
}

func wantReason(t *testing.T, r *rig, row int, part string) {
	t.Helper()
	rec := stateful.Record{Headers: r.sink.rows[row].Headers}
	reason, _ := rec.Header(stateful.DeadLetterReason)
	wantErr(t, errors.New(reason), part)
}

// K4: an output that its sink would never take is a failure of the record that emits it, and of no other; and a
// dead letter that the sink cannot take whole is cut to what tells where the record is.
func TestAnOutputThatItsSinkWouldNeverTakeIsTheRecords(t *testing.T) {
	r := newRig(t, sums())
	r.sink.check = func(row *stateful.Row) error {
		if len(row.Payload) > 20 {
			return errors.New("it takes no more than 20 bytes")
		}
		return nil
	}
	long := strings.Repeat("k", 30)
	r.send("a 1", long+" 1", "a 2")
	r.want("out: a 1", "dead: ", "out: a 3")
	letter := r.sink.rows[1]
	headers := map[string]string{}
	for _, h := range letter.Headers {
		headers[h.Key] = h.Value
	}
	if headers[stateful.DeadLetterOffset] != "1" || !strings.Contains(headers[stateful.DeadLetterReason], "it takes no more than 20 bytes") ||
		!strings.Contains(headers[stateful.DeadLetterReason], "left out") {
		t.Errorf("the dead letter's headers are %v", headers)
	}
	r.restart()
	r.send("a 1")
	r.want("out: a 1", "dead: ", "out: a 3", "out: a 4")
}
