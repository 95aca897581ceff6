package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

// K3: published rows stay in the state for a while, within the limits of the outbox.
func TestPublishedRowsAreKeptWithinLimits(t *testing.T) {
	size := int64(rows(1, 1)[0].Size())
	for _, tt := range []struct {
		name   string
		config outbox.Config
		limits func(*stateful.OutboxTask)
		push   uint64 // rows, one by one
		wait   time.Duration
		blocks uint64 // rows that come after and wait
		least  uint64 // so many are let go
		most   uint64
	}{
		{name: "for a minute", push: 50, wait: 59 * time.Second},
		{name: "for no longer", push: 50, wait: time.Minute, least: 50, most: 50},
		{name: "for the time that is asked for", config: outbox.Config{KeepFor: time.Hour}, push: 50, wait: 59 * time.Minute},
		{name: "not at all", config: outbox.Config{KeepFor: -1}, push: 50, least: 50, most: 50},
		{name: "in number", config: outbox.Config{KeepRows: 32}, push: 50, least: 18, most: 20},
		{name: "as many as may wait", limits: func(ot *stateful.OutboxTask) { ot.MaxRows = 30 }, push: 50, least: 20, most: 50},
		{name: "as many bytes as may wait", limits: func(ot *stateful.OutboxTask) { ot.MaxBytes = 30 * size }, push: 50, least: 20, most: 50},
		{
			name: "fewer when others wait", config: outbox.Config{KeepRows: 32}, limits: func(ot *stateful.OutboxTask) { ot.MaxRows = 32 },
			push: 32, blocks: 10, least: 10, most: 12,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newFaulty()
				tt.config.Sinks = []outbox.Sink{sink}
				o := open(t, outbox.NewWith(tt.config), func(ot *stateful.OutboxTask) {
					ot.Now = now
					if tt.limits != nil {
						tt.limits(ot)
					}
				})
				for seq := uint64(1); seq <= tt.push; seq++ {
					o.Push(rows(seq, seq), nil)
					drained(t, o)
				}
				before := o.Progress()
				time.Sleep(tt.wait)
				if tt.blocks > 0 {
					sink.hang()
					o.Push(rows(tt.push+1, tt.push+tt.blocks), nil)
				}
				after := o.Progress()
				p := o.Published()["memory"]
				if p.Seq != tt.push || p.Trim < tt.least || p.Trim > tt.most {
					t.Errorf("%d are published and %d let go, want %d, and %d to %d", p.Seq, p.Trim, tt.push, tt.least, tt.most)
				}
				if tt.wait >= time.Minute && p.Trim > 0 && before == after {
					t.Error("the task does not learn that rows can go")
				}
			})
		})
	}
}

// K3: a sink that lost the last of what it took gets it again, as long as the state keeps it; then it is refused.
func TestASinkThatLostItsLastRowsGetsThemAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := memory.New()
		defer backend.Close()
		start := func(sink *outbox.Memory) *stateful.Processor {
			return processorWith(t, stateful.Config{Backend: backend, Outbox: outbox.New(sink), Now: now})
		}
		sink := outbox.NewMemory()
		p := start(sink)
		process := func(from, to int64) error { return p.Process(ctx, "copier", batch(from, to)) }
		if err := process(0, 6); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		sink = without(t, sink, 4)
		time.Sleep(time.Hour) // what is stored is kept while nobody runs
		p = start(sink)
		if err := process(6, 7); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := payloads(sink.Rows()), "0:0 1:1 2:2 3:3 4:4 5:5 6:6 "; got != want {
			t.Errorf("published %q, want %q", got, want)
		}
		time.Sleep(2 * time.Minute)
		if err := p.Tick(ctx, "copier"); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if got := storedRows(t, backend); len(got) > 0 {
			t.Errorf("rows %x are stored for ever", got)
		}
		p = start(without(t, sink, 1))
		wantText(t, process(7, 8), "lost data")
		p.Close(ctx)
	})
}

// Kept rows are published once, also when their task is opened again and again.
func TestKeptRowsAreNotPublishedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, sink := memory.New(), outbox.NewMemory()
		defer backend.Close()
		for incarnation := range uint64(4) {
			p := processor(t, backend, sink.Reopen(), 1+incarnation/2)
			if err := p.Process(ctx, "copier", batch(int64(incarnation), int64(incarnation)+1)); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := payloads(sink.Rows()), "0:0 1:1 2:2 3:3 "; got != want {
			t.Errorf("published %q, want %q", got, want)
		}
	})
}

// The incarnation was raised and the process died before anything was published: what was
// under the old one is not published under the new one.
func TestRowsOfTheOldIncarnationAreNotPublishedUnderTheNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, sink := memory.New(), outbox.NewMemory()
		defer backend.Close()
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for i, records := range []int64{3, 0, 0} {
			p := processor(t, backend, sink.Reopen(), uint64(min(1+i, 2)))
			b := batch(0, records)
			b.Log = "log"
			if records == 0 {
				b = batch(3, 3)
				b.EndOfInput = i == 1 // something to commit that emits nothing
			}
			if err := p.Process(ctx, "copier", b); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			p.Close(ended)
		}
		if got, want := payloads(sink.Rows()), "0:0 1:1 2:2 "; got != want {
			t.Errorf("published %q, want %q", got, want)
		}
	})
}

// A sink that keeps rows, or takes none, holds back nothing of another.
func TestSinksAreTrimmedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := memory.New()
		defer backend.Close()
		p := processorWith(t, stateful.Config{
			Backend: backend, Outbox: outbox.New(outbox.NewMemory("kept"), swallow{}), DeadLetterTo: "kept", Now: now,
		})
		bad := batch(0, 1)
		bad.Records[0].Value = []byte("bad")
		policy := stateful.WithPolicy(ctx, func(p *stateful.Policy) { p.DeadLetter = func(error) bool { return true } })
		if err := p.Process(policy, "copier", bad); err != nil {
			t.Fatal(err)
		}
		if err := p.Process(ctx, "copier", batch(1, 100)); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if got := storedRows(t, backend); len(got) != 1 {
			t.Errorf("%d rows are stored, want the one that is kept", len(got))
		}
	})
}
