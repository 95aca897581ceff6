package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// tally is where results end: it adds up the counts in them and throws them away. Its
// methods may be called by several goroutines.
type tally struct {
	want    int64
	counted atomic.Int64
	results atomic.Int64
	late    atomic.Int64
	bad     atomic.Int64
	done    chan struct{} // closed when all that was sent is accounted for
	once    sync.Once
}

func newTally(want int64) *tally { return &tally{want: want, done: make(chan struct{})} }

var valueField = []byte(`"value":`)

// add takes one result as JSON.
func (t *tally) add(payload []byte) {
	at := bytes.Index(payload, valueField)
	if at < 0 {
		t.bad.Add(1)
		return
	}
	var n int64
	for _, d := range payload[at+len(valueField):] {
		if d < '0' || d > '9' {
			break
		}
		n = n*10 + int64(d-'0')
	}
	t.results.Add(1)
	t.settle(t.counted.Add(n) + t.late.Load())
}

// dropped takes events that came too late.
func (t *tally) dropped(n int) { t.settle(t.late.Add(int64(n)) + t.counted.Load()) }

func (t *tally) settle(sum int64) {
	if sum >= t.want {
		t.once.Do(func() { close(t.done) })
	}
}

// check returns what is wrong with the sum.
func (t *tally) check() error {
	counted, late, bad := t.counted.Load(), t.late.Load(), t.bad.Load()
	if counted != t.want || late != 0 || bad != 0 {
		return fmt.Errorf("sent %d events, counted %d in %d results, %d late, %d results unreadable",
			t.want, counted, t.results.Load(), late, bad)
	}
	return nil
}

// wait returns when all is accounted for.
func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), t.check())
	}
}
