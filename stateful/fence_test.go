package stateful_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/pondage/pondage/stateful"
)

// steal opens a task as another process would.
func steal(t *testing.T, b stateful.Backend, id stateful.TaskID) {
	t.Helper()
	store, _, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func tail(lines []string, from int) []string { return lines[min(from, len(lines)):] }

// O2, S4: a source that reassigns partitions will take away the one that another owner has. Until then
// its task is closed, what is delivered of it is held and not sent to and fro, and the others go on.
func TestFencedTaskLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		src := newSource("a 1")
		src.traits.Partitions = 2
		src.add("in", 1, "b 1")
		sys := runSystem(t, src, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		time.Sleep(time.Second)
		first := stateful.Partition{Topic: "in"}
		steal(t, b.Backend, stateful.TaskID{App: "test", Handler: "sums"})
		src.add("in", 0, "a 2", "a 3", "a 4", "a 5")
		src.add("in", 1, "b 2")
		time.Sleep(time.Hour)
		synctest.Wait()
		wantErr(t, sys.p.Ready(), "test/sums/0", "another owner")
		wantLines(t, tail(sys.sink.all(), 2), "out: b 3")
		if opens, _ := b.count(); opens != 2 || src.deliveries > 7 {
			t.Errorf("in an hour tasks were opened %d times and %d envelopes delivered", opens, src.deliveries)
		}
		if _, err := src.owner.Assigned(t.Context(), []stateful.Partition{first}); !errors.Is(err, stateful.ErrFenced) {
			t.Errorf("it was assigned without having been revoked: %v", err)
		}
		err := src.owner.Revoked(t.Context(), []stateful.Partition{first})
		if err != nil {
			t.Error(err)
		}
		if err := sys.p.Ready(); err != nil {
			t.Errorf("the partition is another's: %v", err)
		}
		if _, err := src.owner.Assigned(t.Context(), []stateful.Partition{first}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		wantLines(t, tail(sys.sink.all(), 3), "out: a 3", "out: a 6", "out: a 10", "out: a 15")
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The end of the run does not wait for a source to take a fenced partition away.
func TestFencedTaskDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource("a 1")
		sys := runSystem(t, src, sums())
		time.Sleep(time.Second)
		steal(t, sys.cfg.Backend, stateful.TaskID{App: "test", Handler: "sums"})
		src.add("in", 0, "a 2")
		time.Sleep(time.Minute)
		start := time.Now()
		if err := sys.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
		sys.want("out: a 1")
	})
}

// O2: a source without partitions has nothing for a handler whose task is fenced: the subscription
// ends, and the processor once that is so for every handler.
func TestFencedTaskEndsItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := scripted(nil)
		sources := map[string]plain{"one": make(plain), "two": make(plain)}
		r := newRig(t, sums(), func(c *stateful.Config) { b.Backend, c.Backend = c.Backend, b })
		p, err := stateful.NewProcessor(r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		router := newRouter(t)
		for name, src := range sources {
			h := sums()
			h.name = name
			if err := p.AddTo(router, stateful.From(src, h)); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background(), router) }()
		send := func(name, id string) *message.Message {
			msg := message.NewMessage(id, []byte(name+" 1"))
			sources[name] <- msg
			synctest.Wait()
			return msg
		}
		synctest.Wait()
		steal(t, b.Backend, stateful.TaskID{App: "test", Handler: "one"})
		<-send("one", "1").Nacked()
		time.Sleep(time.Minute)
		wantErr(t, p.Ready(), "test/one/0", "another owner")
		<-send("two", "2").Acked()
		if opens, _ := b.count(); opens != 2 {
			t.Errorf("tasks were opened %d times, want once each", opens)
		}
		steal(t, b.Backend, stateful.TaskID{App: "test", Handler: "two"})
		<-send("two", "3").Nacked()
		if err := <-ended; !errors.Is(err, stateful.ErrFenced) {
			t.Errorf("it ended with %v, want ErrFenced", err)
		}
		r.want("out: two 1")
	})
}
