package embedded

import (
	"fmt"

	"github.com/pondage/pondage/stateful"
)

// joined appends rows inside a commit of a store on the same database (K8).
type joined struct {
	l    *Log
	p    stateful.Producer
	rows []stateful.Row
	err  error // of creating the topics

	a *appender // between Join and Durable
}

// Joined returns the part that appending rows takes in a commit of p's task, whose
// store is on [Log.DB]. Cursor and records are written with the state, under the rules
// of [Log.AppendRows]. Topics that do not exist are created now. The rows must keep their
// memory until Join returned.
//
// Between Join and Applied the partitions concerned and the producer are locked. A
// goroutine must therefore not call Join of another part of the same log in between; other
// goroutines may, in any number. Durable must be called even after the store closed.
func (l *Log) Joined(p stateful.Producer, rows []stateful.Row) stateful.Joined {
	j := &joined{l: l, p: p, rows: rows}
	last := ""
	for i := range rows {
		if t := rows[i].Topic; i == 0 || t != last {
			last = t
			if _, err := l.openTopic(t, 0); err != nil {
				j.err = err
				break
			}
		}
	}
	return j
}

func (j *joined) Join(w stateful.BatchWriter) error {
	if j.err != nil {
		return j.err
	}
	if err := j.l.enter(); err != nil {
		return err
	}
	a := j.l.newAppender()
	a.cur = j.l.cursor(taskProducerKey(j.p))
	a.cur.mu.Lock()
	if err := j.join(a, w); err != nil {
		a.cur.mu.Unlock()
		j.l.leave()
		return fmt.Errorf("embedded: join: %w", err)
	}
	j.a, j.rows = a, nil
	return nil
}

// join leaves the partitions locked only when it returns nil.
func (j *joined) join(a *appender, w stateful.BatchWriter) error {
	next, err := a.cur.admit(j.l, taskStamp(j.p))
	if err != nil {
		return err
	}
	a.stamp = next
	if err := a.addRows(j.rows, next.seq, max(j.p.Partition, 0)); err != nil {
		return err
	}
	if err := a.lock(); err != nil {
		return err
	}
	if err := a.write(w); err != nil {
		a.unlock()
		return err
	}
	return nil
}

// Applied keeps the offsets or gives them back.
func (j *joined) Applied(err error) {
	j.a.applied(err)
	j.a.cur.mu.Unlock()
	if err != nil {
		j.a = nil
		j.l.leave()
	}
}

// Durable shows the rows to readers. An error marks the log dead: what is on disk is
// known only after the process was started again.
func (j *joined) Durable(err error) {
	if j.a == nil {
		return // not applied
	}
	j.a.durable(err)
	if err == nil {
		j.a.release()
	}
	j.a = nil
	j.l.leave()
}
