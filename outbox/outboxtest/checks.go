package outboxtest

import (
	"context"
	"errors"

	"github.com/pondage/pondage/outbox"
	"github.com/pondage/pondage/stateful"
)

func checkTraits(r *run) {
	t := r.sink.Traits()
	if t.Name == "" {
		r.Error("it has no name")
	}
	if !t.Cursor && t.Weak == "" {
		r.Error("without a cursor rows may be published twice, and Weak does not say so")
	}
	if t != r.sink.Traits() {
		r.Error("the second answer is another")
	}
}

func checkOrder(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 3))
	r.commit(clicks, r.rows(4, 4))
	r.commit(clicks, r.rows(5, 6))
	r.published("1", "2", "3", "4", "5", "6")
}

func checkNothing(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, nil)
	r.published()
}

func checkMemory(r *run) {
	r.recover(clicks, 0)
	rows := r.rows(1, 2)
	r.commit(clicks, rows)
	for i := range rows {
		rows[i].Key[0], rows[i].Payload[0] = 'x', 'x'
	}
	r.published("1", "2")
}

func checkClosed(r *run) {
	r.recover(clicks, 0)
	if err := r.sink.Close(); err != nil {
		r.Fatal(err)
	}
	_, err := r.sink.Recover(ctx, clicks, nil)
	r.isErr("Recover", err, stateful.ErrClosed)
	n, err := r.sink.Commit(ctx, clicks, r.rows(1, 1))
	r.isErr("Commit", err, stateful.ErrClosed)
	if n != 0 {
		r.Errorf("Commit says that it published %d rows", n)
	}
}

func checkCloseTwice(r *run) {
	for range 2 {
		if err := r.sink.Close(); err != nil {
			r.Error(err)
		}
	}
}

func checkContext(r *run) {
	r.recover(clicks, 0)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	rows := r.rows(1, 3)
	n, err := r.sink.Commit(ended, clicks, rows)
	if err == nil && n != len(rows) || err != nil && !errors.Is(err, context.Canceled) {
		r.Errorf("Commit returned %d, %v", n, err)
	}
	if !r.sink.Traits().Cursor {
		rows = rows[n:]
	}
	r.commit(clicks, rows)
	r.published("1", "2", "3")
}

func checkTooLarge(r *run) {
	ok := r.rows(1, 1)[0]
	if err := r.sink.Check(&ok); err != nil {
		r.Errorf("an ordinary row is refused: %v", err)
	}
	if r.TooLarge == nil {
		return
	}
	row := r.TooLarge()
	if err := r.sink.Check(&row); err == nil {
		r.Error("it is not refused")
	}
}

func checkRepeat(r *run) {
	r.recover(clicks, 0)
	for range 3 {
		r.commit(clicks, r.rows(1, 3))
	}
	r.commit(clicks, r.rows(1, 2))
	r.published("1", "2", "3")
}

func checkOverlap(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 3))
	r.commit(clicks, r.rows(2, 5))
	r.published("1", "2", "3", "4", "5")
}

func checkGaps(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, append(r.rows(2, 2), r.rows(7, 7)...))
	r.commit(clicks, r.rows(9, 9))
	r.commit(clicks, r.rows(8, 8)) // below the cursor
	r.recover(clicks, 9)
	r.published("2", "7", "9")
}

func checkNew(r *run) {
	got, err := r.sink.Recover(ctx, clicks, nil)
	if err != nil || got != (outbox.Cursor{}) {
		r.Errorf("Recover returned %+v, %v", got, err)
	}
}

func checkReopen(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 4))
	r.reopen()
	next := with(func(p *stateful.Producer) { p.Epoch = 2 })
	r.recover(next, 4)
	r.commit(next, r.rows(3, 6))
	r.published("1", "2", "3", "4", "5", "6")
}

func checkRecoverTwice(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 2))
	for range 3 {
		r.recover(clicks, 2)
	}
	r.commit(clicks, r.rows(1, 3))
	r.published("1", "2", "3")
}

func checkLowerEpoch(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 2))
	r.recover(with(func(p *stateful.Producer) { p.Epoch = 2 }), 2)
	r.stale(clicks)
}

func checkLowerIncarnation(r *run) {
	r.recover(with(func(p *stateful.Producer) { p.Incarnation, p.Epoch = 2, 1 }), 0)
	r.stale(with(func(p *stateful.Producer) { p.Incarnation, p.Epoch = 1, 99 }))
}

func checkStaleReopen(r *run) {
	r.recover(with(func(p *stateful.Producer) { p.Epoch = 5 }), 0)
	r.reopen()
	r.stale(with(func(p *stateful.Producer) { p.Epoch = 4 }))
}

func checkIncarnation(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 5))
	raised := with(func(p *stateful.Producer) { p.Incarnation = 2 })
	r.recover(raised, 0)
	r.commit(raised, r.rows(4, 6))
	r.published("1", "2", "3", "4", "5", "4", "5", "6")
	r.recover(raised, 6)
}

func checkTasks(r *run) {
	r.recover(clicks, 0)
	r.commit(clicks, r.rows(1, 3))
	for _, other := range []stateful.Producer{
		with(func(p *stateful.Producer) { p.App = "app2" }),
		with(func(p *stateful.Producer) { p.Handler = "click" }),
		with(func(p *stateful.Producer) { p.App, p.Handler = "appc", "licks" }),
		with(func(p *stateful.Producer) { p.Partition = 1 }),
	} {
		r.recover(other, 0)
	}
	r.recover(clicks, 3)
}
