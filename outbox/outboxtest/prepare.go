package outboxtest

import (
	"errors"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

func (r *run) prepare(p stateful.Producer, rows []stateful.Row) stateful.Prepared {
	r.Helper()
	handle, err := r.sink.(outbox.Preparer).Prepare(ctx, p, rows)
	if err != nil {
		r.Fatalf("prepare: %v", err)
	}
	return stateful.Prepared{Sink: r.sink.Traits().Name, Seq: rows[len(rows)-1].Seq, Handle: handle}
}

func (r *run) commitPrepared(p stateful.Producer, handle []byte, rows []stateful.Row) {
	r.Helper()
	if err := r.sink.(outbox.Preparer).CommitPrepared(ctx, p, handle, rows); err != nil {
		r.Fatalf("commit what was prepared: %v", err)
	}
}

func (r *run) reserved(want int) {
	r.Helper()
	if got := r.Prepared(r.T); got != want {
		r.Errorf("%d are reserved, want %d", got, want)
	}
}

func checkDecided(r *run) {
	r.recover(clicks, 0)
	rows := r.rows(1, 3)
	h := r.prepare(clicks, rows)
	r.published()
	r.reopen()
	next := with(func(p *stateful.Producer) { p.Epoch = 2 })
	r.recover(next, 0, h)
	for range 3 {
		r.commitPrepared(next, h.Handle, rows)
	}
	r.published("1", "2", "3")
	r.reserved(0)
	r.recover(next, 3, h)
}

func checkUndecided(r *run) {
	r.recover(clicks, 0)
	first := r.prepare(clicks, r.rows(1, 1))
	r.prepare(clicks, r.rows(2, 2))
	r.reserved(2)
	r.recover(with(func(p *stateful.Producer) { p.Epoch = 2 }), 0, first)
	r.reserved(1)
	r.published()
}

func checkAbort(r *run) {
	r.recover(clicks, 0)
	h := r.prepare(clicks, r.rows(1, 2))
	for range 2 {
		if err := r.sink.(outbox.Preparer).Abort(ctx, clicks, h.Handle); err != nil {
			r.Errorf("abort: %v", err)
		}
	}
	r.reserved(0)
	r.published()
}

func checkPrepareAhead(r *run) {
	r.recover(clicks, 0)
	first := r.prepare(clicks, r.rows(1, 2))
	second := r.prepare(clicks, r.rows(3, 3))
	r.commitPrepared(clicks, first.Handle, r.rows(1, 2))
	third := r.prepare(clicks, r.rows(4, 4))
	r.commitPrepared(clicks, second.Handle, r.rows(3, 3))
	r.commitPrepared(clicks, third.Handle, r.rows(4, 4))
	r.published("1", "2", "3", "4")
	r.reserved(0)
}

func checkStalePrepare(r *run) {
	r.recover(clicks, 0)
	rows := r.rows(1, 1)
	h := r.prepare(clicks, rows)
	r.recover(with(func(p *stateful.Producer) { p.Epoch = 2 }), 0, h)
	sink := r.sink.(outbox.Preparer)
	if _, err := sink.Prepare(ctx, clicks, rows); !errors.Is(err, stateful.ErrFenced) {
		r.Errorf("Prepare returned %v, want ErrFenced", err)
	}
	if err := sink.CommitPrepared(ctx, clicks, h.Handle, rows); !errors.Is(err, stateful.ErrFenced) {
		r.Errorf("CommitPrepared returned %v, want ErrFenced", err)
	}
	r.published()
}
