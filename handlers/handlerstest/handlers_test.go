package handlerstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/pondage/pondage/stateful"
)

// click is what the handlers of these tests read.
type click struct {
	User string
	At   int64
}

// counter counts per user with nothing but a transaction: what the kit is tested with.
type counter struct {
	name, from, to string
	failOn         string
}

func (c counter) HandlerName() string { return c.name }
func (c counter) Inputs() []string    { return []string{c.from} }
func (c counter) Outputs() []string   { return []string{c.to} }

func (c counter) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	var e click
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		return stateful.Permanent(err)
	}
	b, err := tx.Get(ctx, e.User)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(b))
	tx.Put(e.User, []byte(strconv.Itoa(n+1)))
	if e.User == c.failOn {
		return errors.New("cannot count it")
	}
	if _, err := tx.Observe(e.At); err != nil {
		return err
	}
	return c.say(tx, e.User, fmt.Sprintf(`{"User":%q,"At":%d,"N":%d}`, e.User, e.At, n+1))
}

func (c counter) say(tx *stateful.Tx, key, what string) error {
	return tx.Emit(stateful.Row{Topic: c.to, Key: []byte(key), Payload: []byte(what), Time: stateful.NoTime})
}

// alarm also sets a timer ten seconds of clock after each event.
type alarm struct{ counter }

func (a alarm) Process(ctx context.Context, tx *stateful.Tx, rec *stateful.Record) error {
	if err := a.counter.Process(ctx, tx, rec); err != nil {
		return err
	}
	return tx.SetTimer(stateful.Timer{Kind: stateful.ProcessingTime, Time: tx.Now().UnixMilli() + 10_000, Key: "ring"})
}

func (a alarm) OnTimer(_ context.Context, tx *stateful.Tx, t stateful.Timer) error {
	return a.say(tx, t.Key, t.Key)
}

func clicks() counter { return counter{name: "count", from: "clicks", to: "counts"} }
