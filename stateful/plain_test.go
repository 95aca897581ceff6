package stateful_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pondage/pondage/stateful"
)

// plain is a stock subscriber with one subscription: it forwards what is sent to it and
// redelivers nothing.
type plain chan *message.Message

func (p plain) Close() error { return nil }
func (p plain) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg := <-p:
				select {
				case out <- msg:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// marked makes batches of one without a position.
func marked(id, value string) stateful.Batch {
	return stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Records: []stateful.Record{{ID: id, Value: []byte(value), Time: stateful.NoTime}}}
}

func TestPlainRecordsAreToldApartByID(t *testing.T) {
	r := newRig(t, sums())
	for _, b := range []stateful.Batch{marked("1", "a 1"), marked("1", "a 1"), marked("2", "a 1"), marked("", "a 1"), marked("", "a 1")} {
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	r.want("out: a 1", "out: a 2", "out: a 3", "out: a 4")
}

// A record in its first transaction is marked even when nothing else was written before.
func TestDeadLetteredRecordIsMarked(t *testing.T) {
	r := newRig(t, sums())
	for range 2 {
		if err := r.process(marked("1", "bad")); err != nil {
			t.Fatal(err)
		}
		r.restart()
	}
	r.want("dead: bad")
}

func TestMarksAreRememberedForTheTimeAskedAndNotForEver(t *testing.T) {
	now := time.UnixMilli(0)
	b := scripted(nil)
	r := newRig(t, sums(), func(c *stateful.Config) {
		c.Now = func() time.Time { return now }
		c.Limits.DedupFor = time.Hour
		b.Backend, c.Backend = c.Backend, b
	})
	send := func(id string) {
		t.Helper()
		if err := r.process(marked(id, "a 1")); err != nil {
			t.Fatal(err)
		}
	}
	send("first")
	for i := range 59 {
		now = now.Add(time.Minute)
		send("first")
		send(fmt.Sprint(i))
	}
	if n := len(r.sink.all()); n != 60 {
		t.Errorf("there are %d outputs, want 60: a redelivery within the hour counted", n)
	}
	for i := range 180 {
		now = now.Add(time.Minute)
		send(fmt.Sprint("later", i))
	}
	if marks := r.marks(); marks > 120 {
		t.Errorf("%d marks are stored after four hours of one a minute, want those of 1 to 2 hours", marks)
	}
}

// marks counts those that are stored. The processor made before is fenced by it.
func (r *rig) marks() int {
	r.t.Helper()
	n := 0
	store, _, err := r.cfg.Backend.Open(r.t.Context(), stateful.TaskID{App: "test", Handler: "sums"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, err := range store.Scan(r.t.Context(), "d", "e") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

// A mark lasts as long as is asked for now, whatever was asked for when it was made.
func TestMarksOutliveAChangeOfTheirTime(t *testing.T) {
	for _, tt := range []struct{ from, to time.Duration }{
		{24 * time.Hour, time.Hour}, {time.Hour, 24 * time.Hour}, {time.Hour, time.Hour}, {5 * time.Hour, 3 * time.Hour},
	} {
		t.Run(fmt.Sprintf("from %v to %v", tt.from, tt.to), func(t *testing.T) {
			const every = 20 * time.Minute
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			r := newRig(t, sums(), func(c *stateful.Config) {
				c.Now = func() time.Time { return now }
				c.Limits.DedupFor = tt.from
			})
			last := min(tt.from, tt.to)
			var sent []time.Time
			live := func(d time.Duration) {
				t.Helper()
				for range d / every {
					now = now.Add(every)
					sent = append(sent, now)
					for _, at := range sent {
						if now.Sub(at) > last {
							continue
						}
						if err := r.process(marked(at.String(), "a 1")); err != nil {
							t.Fatal(err)
						}
					}
					if n := len(r.sink.all()); n != len(sent) {
						t.Fatalf("%d outputs of %d records: a redelivery counted", n, len(sent))
					}
				}
			}
			live(3 * tt.from)
			r.cfg.Limits.DedupFor = tt.to
			r.restart()
			live(3 * tt.to)
			if n, most := r.marks(), int(2*tt.to/every); n > most {
				t.Errorf("%d marks are stored, want at most the %d of twice the time", n, most)
			}
		})
	}
}

// Whatever the clock does: a mark is not kept for longer than the time asked for, from when the clock is right again.
func TestMarksOfTheFutureGrowOld(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	r := newRig(t, sums(), func(c *stateful.Config) {
		c.Now = func() time.Time { return now }
		c.Limits.DedupFor = time.Hour
	})
	send := func(id string) {
		t.Helper()
		if err := r.process(marked(id, "a 1")); err != nil {
			t.Fatal(err)
		}
	}
	send("future")
	now = now.Add(-365 * 24 * time.Hour)
	for i := range 60 {
		send("future")
		send(fmt.Sprint(i))
		now = now.Add(time.Minute)
	}
	if n := len(r.sink.all()); n != 61 {
		t.Errorf("there are %d outputs, want 61", n)
	}
	for i := range 180 {
		send(fmt.Sprint("later", i))
		now = now.Add(time.Minute)
	}
	if n := r.marks(); n > 120 {
		t.Errorf("%d marks are stored after four hours of one a minute, want those of 1 to 2 hours", n)
	}
}

// Marks of a version that did not store when they were made count as made now.
func TestMarksOfOldVersionsGrowOld(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &adder{name: "sums", inputs: []string{"in", "other"}, to: "out"}
	r := newRig(t, h, func(c *stateful.Config) {
		c.Now = func() time.Time { return now }
		c.Limits.DedupFor, c.Incarnation = time.Hour, 2
	})
	store, _, err := r.cfg.Backend.Open(t.Context(), stateful.TaskID{App: "test", Handler: "sums"})
	if err != nil {
		t.Fatal(err)
	}
	old := stateful.Commit{Seq: 1}
	for _, name := range []string{"v3-meta", "v1-mark"} {
		b, err := os.ReadFile("testdata/task/" + name + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		var key, value []byte
		if _, err := fmt.Sscanf(string(b)+"\n", "%x\n%x\n", &key, &value); err != nil && len(key) == 0 {
			t.Fatal(err)
		}
		old.Writes = append(old.Writes, stateful.Write{Key: string(key), Value: append([]byte{}, value...)})
	}
	if err := store.Submit(t.Context(), old).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 6 { // the hour since the task was opened
		for _, id := range []string{"id-1", now.String()} {
			if err := r.process(marked(id, "a 1")); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(10 * time.Minute)
		r.restart()
	}
	if n := len(r.sink.all()); n != 6 {
		t.Errorf("there are %d outputs, want 6: the old mark was forgotten", n)
	}
	for range 12 {
		now = now.Add(10 * time.Minute)
		if err := r.process(marked(now.String(), "a 1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.process(marked("id-1", "a 1")); err != nil {
		t.Fatal(err)
	}
	if n := len(r.sink.all()); n != 19 {
		t.Errorf("there are %d outputs, want 19: the old mark is still there", n)
	}
}

// F4: with DedupWeaken the oldest marks are forgotten first, and no more than the limit asks for.
func TestTheOldestMarksAreForgottenFirst(t *testing.T) {
	const limit = 10
	for _, size := range []int{1, 3, 40} {
		t.Run(fmt.Sprintf("batches of %d", size), func(t *testing.T) {
			r := newRig(t, sums(), func(c *stateful.Config) { c.Limits.DedupMarks, c.Limits.DedupWeaken = limit, true })
			var ids []string
			for n := range 200 / size {
				b := stateful.Batch{Partition: stateful.Partition{Topic: "in"}}
				for i := range size {
					id := fmt.Sprint((n*size + i) * 7919 % 997) // in no order
					ids = append(ids, id)
					b.Records = append(b.Records, stateful.Record{ID: id, Value: []byte("a 1"), Time: stateful.NoTime})
				}
				if err := r.process(b); err != nil {
					t.Fatal(err)
				}
				for _, id := range ids[max(0, len(ids)-limit/2):] { // the newest generations have these
					if err := r.process(marked(id, "a 1")); err != nil {
						t.Fatal(err)
					}
				}
				if got := len(r.sink.all()); got != len(ids) {
					t.Fatalf("%d outputs of %d records: a current mark was forgotten before an old one", got, len(ids))
				}
			}
			if n := r.marks(); n != limit {
				t.Errorf("%d marks are stored, want %d", n, limit)
			}
		})
	}
}

// F4: at the limit the task waits, or weakens; it goes on once marks grew old.
func TestLimitOfMarks(t *testing.T) {
	for _, weaken := range []bool{false, true} {
		t.Run(fmt.Sprintf("weaken=%v", weaken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, sums(), func(c *stateful.Config) {
					c.Now = time.Now
					c.Limits.DedupFor, c.Limits.DedupMarks, c.Limits.DedupWeaken = time.Hour, 10, weaken
				})
				for i := range 10 {
					if err := r.process(marked(fmt.Sprint(i), "a 1")); err != nil {
						t.Fatal(err)
					}
				}
				err := r.process(marked("10", "a 1"))
				if weaken {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				wantErr(t, err, "Limits.DedupMarks")
				wantErr(t, r.p.Ready(), "Limits.DedupMarks")
				if n := len(r.sink.all()); n != 10 {
					t.Errorf("there are %d outputs, want 10", n)
				}
				time.Sleep(3 * time.Hour)
				if err := r.process(marked("10", "a 1")); err != nil {
					t.Fatalf("it does not go on although every mark is too old: %v", err)
				}
			})
		})
	}
}

// T2: tries are counted for each record, also where records have no name.
func TestTriesAreCountedPerRecord(t *testing.T) {
	fails := 0
	h := sums()
	h.before = func(context.Context, *stateful.Tx, *stateful.Record) error {
		if fails++; fails%3 != 0 { // each record succeeds at its third try
			return errors.New("not yet")
		}
		return nil
	}
	r := newRig(t, h)
	for range 3 {
		if err := r.process(marked("", "a 1")); err != nil {
			t.Fatal(err)
		}
	}
	b := marked("", "a 1")
	b.Records = append(b.Records, b.Records[0], b.Records[0])
	if err := r.process(b); err != nil {
		t.Fatal(err)
	}
	r.want("out: a 1", "out: a 2", "out: a 3", "out: a 4", "out: a 5", "out: a 6")
}

// Tries outlive redeliveries: a record that goes back to its source comes to an end.
func TestThirdPanicIsFinalOverRedeliveries(t *testing.T) {
	h := sums()
	panics := 0
	h.before = func(_ context.Context, _ *stateful.Tx, rec *stateful.Record) error {
		if string(rec.Value) == "a 2" {
			panics++
			panic("poison")
		}
		return nil
	}
	r := newRig(t, h)
	r.policy(noRetry)
	b := r.batch("in", "a 1", "a 2", "a 3")
	for n := 1; n <= 3; n++ {
		err := r.process(b)
		if (err == nil) != (n == 3) {
			t.Fatalf("delivery %d: %v", n, err)
		}
	}
	r.want("out: a 1", "dead: a 2", "out: a 4")
	rec := stateful.Record{Headers: r.sink.rows[1].Headers}
	if stack, _ := rec.Header(stateful.DeadLetterStack); stack == "" || panics != 3 {
		t.Errorf("%d panics, and the stack in the dead letter is %q", panics, stack)
	}
}

// What a task had stored when its process ended is published, and its timers fire, before any
// message comes: a stock subscriber may never send one.
func TestTasksOfPlainSourcesAreOpenedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &timed{adder: *sums()}
		h.after = func(_ context.Context, tx *stateful.Tx, _ *stateful.Record) error {
			return tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: tx.Now().UnixMilli() + 60_000})
		}
		h.onTimer = func(_ context.Context, tx *stateful.Tx, _ stateful.Timer) error { return say(tx, "out", "ring") }
		src := make(plain)
		r := newRig(t, h, func(c *stateful.Config) { c.Source, c.Now = src, time.Now })
		r.sink.hold()
		if err := r.process(marked("1", "a 1")); err != nil {
			t.Fatal(err)
		}
		r.sink.release() // of a task that is no more
		r.want()
		sys := &system{rig: r}
		sys.start()
		time.Sleep(time.Second)
		synctest.Wait()
		r.want("out: a 1")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.want("out: a 1", "out: ring")
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// T1: where a commit fails, what was delivered behind it is given back too, so that a source
// that redelivers in order keeps it.
func TestPlainMessagesBehindAFailedCommitAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		held := newPending()
		b.submit = func(n int, _ stateful.Commit, apply func() stateful.Pending) stateful.Pending {
			if n == 1 {
				return held
			}
			return apply()
		}
		src := make(plain)
		sys := &system{rig: newRig(t, sums(), func(c *stateful.Config) {
			c.Source = src
			b.Backend, c.Backend = c.Backend, b
		})}
		slow := func(h message.HandlerFunc) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				if string(msg.Payload) == "a 2" {
					time.Sleep(300 * time.Millisecond) // it comes when the commit has failed
				}
				return h(msg)
			}
		}
		sys.start(slow)
		var msgs []*message.Message
		for i, v := range []string{"a 1", "a 2"} {
			msgs = append(msgs, message.NewMessage(fmt.Sprint(i), []byte(v)))
			src <- msgs[i]
		}
		synctest.Wait()
		held.finish(errDisk)
		for i, msg := range msgs {
			select {
			case <-msg.Nacked():
			case <-msg.Acked():
				t.Errorf("message %d was acknowledged", i)
			}
		}
		for _, v := range []string{"a 1", "a 2"} {
			src <- message.NewMessage(v, []byte(v))
		}
		time.Sleep(time.Minute)
		sys.want("out: a 1", "out: a 3")
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Stock messages through a stock Pub/Sub: once each, in order, with a restart between.
func TestStockMessagesEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := gochannel.NewGoChannel(gochannel.Config{BlockPublishUntilSubscriberAck: true}, watermill.NopLogger{})
		fails := 0
		h := sums()
		h.before = func(_ context.Context, _ *stateful.Tx, rec *stateful.Record) error {
			if _, ok := rec.Header("color"); !ok || string(rec.Key) != "k" || rec.Time == stateful.NoTime {
				t.Errorf("the record is %+v", rec)
			}
			if fails++; fails%5 == 0 {
				return errors.New("now and then")
			}
			return nil
		}
		sys := &system{rig: newRig(t, h, func(c *stateful.Config) { c.Source = bus })}
		values, want := numbered(40)
		for half := range 2 {
			sys.start()
			for i, v := range values[half*20 : half*20+20] {
				for range 1 + i%2 { // every second one comes twice
					msg := message.NewMessage(fmt.Sprint(half, i), []byte(v))
					msg.Metadata.Set("color", "red")
					msg.Metadata.Set("pondage_key", "k")
					if err := bus.Publish("in", msg); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := sys.stop(); err != nil {
				t.Error(err)
			}
		}
		sys.want(want...)
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A message that is passed on from one topic to another as it is keeps its id.
func TestOneIDInTwoTopicsIsTwoRecords(t *testing.T) {
	r := newRig(t, &adder{name: "sums", inputs: []string{"in", "more"}, to: "out"})
	for range 2 { // the second time it is a redelivery
		for _, topic := range []string{"in", "more"} {
			b := stateful.Batch{Partition: stateful.Partition{Topic: topic}, Records: []stateful.Record{{ID: "x", Value: []byte("a 1")}}}
			if err := r.process(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.want("out: a 1", "out: a 2")
}

func TestARecordThatIsTooLargeIsDeadLetteredOnce(t *testing.T) {
	r := newRig(t, sums(), func(c *stateful.Config) { c.Limits.RecordBytes = 4 })
	for range 2 { // the second time it is a redelivery
		b := stateful.Batch{Partition: stateful.Partition{Topic: "in"}, Records: []stateful.Record{{ID: "x", Value: []byte("a 1000")}}}
		if err := r.process(b); err != nil {
			t.Fatal(err)
		}
	}
	r.want("dead: a 1000")
}
