package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// shout returns what it is given in capitals, twice when asked.
func shout(msg *message.Message) ([]*message.Message, error) {
	if string(msg.Payload) == "poison" {
		return nil, stateful.Permanent(errors.New("poison"))
	}
	var out []*message.Message
	for range 1 + len(msg.Metadata["twice"]) {
		m := message.NewMessage(watermill.NewUUID(), []byte(strings.ToUpper(string(msg.Payload))))
		for k, v := range msg.Metadata {
			m.Metadata[k] = v
		}
		m.Metadata.Set("was", msg.UUID)
		out = append(out, m)
	}
	return out, nil
}

func shouts(h message.HandlerFunc) handlers.Func {
	return handlers.Func{Name: "shouts", From: "words", To: "shouted", Handle: h}
}

func word(key, value string, headers ...stateful.Header) stateful.Record {
	return stateful.Record{Key: []byte(key), Value: []byte(value), Headers: headers, Time: 7}
}

func TestFuncPassesOnWhatAMessageHas(t *testing.T) {
	d := handlerstest.New(t, shouts(shout))
	d.Send(word("ana", "hi", stateful.Header{Key: "trace", Value: "1"}, stateful.Header{Key: "trace", Value: "2"}), word("", "ho"))
	d.Send(word("", "hey", stateful.Header{Key: stateful.UUIDHeader, Value: "its-own"}))
	var got []string
	for _, r := range d.Records("shouted") {
		got = append(got, fmt.Sprintf("%s=%s %v %d", r.Key, r.Value, r.Headers, r.Time))
	}
	want := []string{
		"ana=HI [{trace 2} {was words/0/0}] 7",
		"=HO [{was words/0/1}] 7",
		"=HEY [{was its-own}] 7",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A message without an id of its own has one made of its place.
func TestFuncNamesAMessageByItsPlace(t *testing.T) {
	f := shouts(shout)
	f.From = "letters"
	d := handlerstest.New(t, f)
	d.OnPartition(3).Send(word("", "a"), word("", "b"))
	d.Restart()
	d.Redeliver(2)
	d.Send(word("", "c"))
	var got []string
	for _, r := range d.Records("shouted") {
		was, _ := r.Header("was")
		got = append(got, was)
	}
	if want := []string{"letters/3/0", "letters/3/1", "letters/0/0"}; !slices.Equal(got, want) {
		t.Errorf("messages are named %q, want %q", got, want)
	}
}

// The handler may keep the message and change it: the record is tried again as it was.
func TestFuncGivesEachTryItsOwnMessage(t *testing.T) {
	var kept []*message.Message
	var seen []string
	d := handlerstest.New(t, shouts(func(msg *message.Message) ([]*message.Message, error) {
		seen = append(seen, fmt.Sprintf("%s %s %v", msg.UUID, msg.Payload, msg.Metadata))
		copy(msg.Payload, "XX")
		msg.Metadata.Set("changed", "yes")
		if kept = append(kept, msg); len(kept) < 3 {
			return nil, errors.New("again")
		}
		return nil, nil
	}))
	d.Send(word("ana", "hi"))
	if want := "words/0/0 hi map[pondage_key:ana]"; len(seen) != 3 || seen[0] != want || seen[2] != want {
		t.Errorf("it saw %q", seen)
	}
	for _, m := range kept {
		if string(m.Payload) != "XX" {
			t.Errorf("a message that was kept has payload %q", m.Payload)
		}
	}
}

func TestFuncFailures(t *testing.T) {
	nacks := shouts(func(msg *message.Message) ([]*message.Message, error) { msg.Nack(); return nil, nil })
	silent := shouts(shout)
	silent.To = ""
	for _, tt := range []struct {
		name   string
		h      handlers.Func
		reason string
	}{
		{"an error", shouts(shout), "poison"},
		{"a nack", nacks, "nacked"},
		{"messages for no topic", silent, "To is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := handlerstest.New(t, tt.h)
			value := "hi"
			if tt.name == "an error" {
				value = "poison"
			}
			d.Send(word("ana", value))
			if dead := d.DeadLetters(); len(dead) != 1 || !strings.Contains(dead[0].Reason, tt.reason) {
				t.Errorf("dead letters %+v", dead)
			}
		})
	}
	err := fmt.Sprint(handlers.Func{From: "a", To: "a"}.Validate())
	for _, part := range []string{"Handle is required", `own input "a"`} {
		if !strings.Contains(err, part) {
			t.Errorf("%q is not in %s", part, err)
		}
	}
}

// What it returned is published once, and all of it or nothing.
func TestFuncSameness(t *testing.T) {
	play := func(batch int, crash handlerstest.Point, restart bool) []string {
		fails := 0
		d := handlerstest.New(t, shouts(func(msg *message.Message) ([]*message.Message, error) {
			if fails++; fails%5 == 0 {
				return nil, errors.New("now and then")
			}
			return shout(msg)
		}), handlerstest.InBatchesOf(batch))
		for i := range 40 {
			if crash != 0 && i%7 == 0 {
				d.CrashAt(crash)
			}
			d.Send(word("k", fmt.Sprint("w", i), stateful.Header{Key: "twice", Value: strings.Repeat("x", i%3)}), word("k", "poison"), word("k", "z"))
			if restart {
				d.Restart()
			}
		}
		var got []string
		for _, r := range d.Records("shouted") {
			got = append(got, fmt.Sprintf("%s %v", r.Value, r.Headers))
		}
		return got
	}
	want := play(100, 0, false)
	for _, p := range append([]handlerstest.Point{0}, handlerstest.Points...) {
		for _, batch := range []int{1, 2} {
			if got := play(batch, p, batch == 1); !slices.Equal(got, want) {
				t.Errorf("batches of %d, crash %v: other outputs", batch, p)
			}
		}
	}
}

// In a Router, the context has what the Router put there, and plain messages keep their UUID.
func TestFuncInARouter(t *testing.T) {
	pubsub := gochannel.NewGoChannel(gochannel.Config{Persistent: true}, watermill.NopLogger{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	type seen struct{ uuid, handler, topic, subscriber, trace string }
	got := make(chan seen, 1)
	f := shouts(func(msg *message.Message) ([]*message.Message, error) {
		ctx := msg.Context()
		got <- seen{
			msg.UUID, message.HandlerNameFromCtx(ctx), message.SubscribeTopicFromCtx(ctx), message.SubscriberNameFromCtx(ctx),
			msg.Metadata.Get("trace"),
		}
		return shout(msg)
	})
	out := &sink{}
	p, err := stateful.NewProcessor(stateful.Config{App: "test", Backend: memory.New(), Outbox: out, Source: pubsub, DrainFor: 10 * time.Second})
	if err == nil {
		err = p.AddTo(router, f)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, router) }()
	<-router.Running()
	m := message.NewMessage("uuid-1", []byte("hi"))
	m.Metadata.Set("trace", "t")
	m.Metadata.Set("pondage_key", "ana")
	if err := pubsub.Publish("words", m); err != nil {
		t.Fatal(err)
	}
	s := <-got
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s.uuid != "uuid-1" || s.handler != "shouts" || s.topic != "words" || s.subscriber == "" || s.trace != "t" {
		t.Errorf("the handler saw %+v", s)
	}
	if rows := out.rows; len(rows) != 1 || string(rows[0].Key) != "ana" || string(rows[0].Payload) != "HI" {
		t.Errorf("published %+v", rows)
	}
}
