package stateful

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Marks of records without a position are kept in generations: whole ones are forgotten, without an index by
// time (F4). One is begun for every half of the time asked for, and where the oldest may have to go, for every half of
// their number.
type dedupGen struct {
	index int64 // in the keys of its marks; rises
	count uint64
	since int64 // when it began, in milliseconds since 1970 UTC
	until int64 // when its last mark was made
}

// unknownTime is that of a generation of which it was not stored.
const unknownTime = math.MaxInt64

// outlived reports whether every mark of g is older than asked for.
func (g *dedupGen) outlived(l *Limits, now int64) bool {
	return g.until != unknownTime && now-g.until > l.DedupFor.Milliseconds()
}

// full reports whether marks made now begin another generation.
func (g *dedupGen) full(l *Limits, now int64) bool {
	return g.since != unknownTime && now-g.since >= max(1, l.DedupFor.Milliseconds()/2) ||
		l.DedupWeaken && g.count >= max(1, uint64(l.DedupMarks)/2)
}

// errDedupFull pauses a task whose marks reached their limit: to go on would mean
// forgetting, and to forget would mean counting a redelivery twice.
var errDedupFull = errors.New("stateful: the marks of records already seen have reached Limits.DedupMarks: " +
	"raise it, shorten Limits.DedupFor, or set Limits.DedupWeaken to forget the oldest")

// appendDedupKey appends the key of a mark. Its topic is in it: a message that is passed on
// under its own id is another record in the next topic.
func appendDedupKey(b []byte, gen int64, topic, id string) []byte {
	return append(appendString(appendGeneration(b, gen), topic), id...)
}

// appendGeneration appends what the keys of a generation's marks begin with.
func appendGeneration(b []byte, gen int64) []byte {
	return AppendOrdered(append(b, spaceDedup...), gen)
}

// markKey returns the key of a mark; most records are looked up and marked under one key.
func (t *Task) markKey(gen int64, topic, id string) string {
	t.key = appendDedupKey(t.key[:0], gen, topic, id)
	if string(t.key) != t.lastMark {
		t.lastMark = string(t.key)
	}
	return t.lastMark
}

// seen reports whether a record of this topic and id was committed before.
func (t *Task) seen(ctx context.Context, tx *Tx, topic, id string) (bool, error) {
	for _, g := range t.meta.dedup {
		if g.count == 0 {
			continue
		}
		v, err := tx.get(ctx, t.markKey(g.index, topic, id))
		if err != nil || v != nil {
			return v != nil, err
		}
	}
	return false, nil
}

// mark remembers the record with the transaction in hand.
func (t *Task) mark(tx *Tx, topic, id string) error {
	l, m, now := &t.p.cfg.Limits, &t.meta, tx.Now().UnixMilli()
	var total uint64
	for i := range m.dedup {
		if g := &m.dedup[i]; !g.outlived(l, now) { // the others go with the next commits
			total += g.count
		}
	}
	if total >= uint64(l.DedupMarks) && !l.DedupWeaken {
		return TaskFault(errDedupFull)
	}
	n := len(m.dedup)
	if n == 0 {
		m.dedup = append(m.dedup, dedupGen{since: now})
	} else if last := &m.dedup[n-1]; last.full(l, now) {
		m.dedup = append(m.dedup, dedupGen{index: last.index + 1, since: now})
	}
	last := &m.dedup[len(m.dedup)-1]
	last.count++
	last.until = now
	tx.marked++
	tx.put(t.markKey(last.index, topic, id), []byte{})
	return nil
}

// sweepMarks forgets marks, the oldest first: those older than asked for, and with Limits.DedupWeaken those beyond the
// limit. It forgets as many as the transaction made, and a bounded number more.
func (t *Task) sweepMarks(ctx context.Context, tx *Tx) error {
	l, m := &t.p.cfg.Limits, &t.meta
	if len(m.dedup) == 0 {
		return nil
	}
	now, total := tx.Now().UnixMilli(), 0
	for i := range m.dedup {
		g := &m.dedup[i]
		g.since, g.until = min(g.since, now), min(g.until, now) // it was not stored, or the clock went back
		total += int(g.count)
	}
	for room := sweepPerCommit + tx.marked; room > 0 && len(m.dedup) > 0; {
		g, n := &m.dedup[0], room
		if !g.outlived(l, now) {
			if !l.DedupWeaken || total <= l.DedupMarks {
				return nil
			}
			n = min(n, total-l.DedupMarks)
		}
		forgot, last, err := t.forgetMarks(ctx, tx, g, n)
		if err != nil {
			return TaskFault(fmt.Errorf("sweep marks: %w", err))
		}
		if total, room = total-forgot, room-forgot; last {
			total -= int(g.count)
			m.dedup = m.dedup[1:]
		}
	}
	return nil
}

// forgetMarks forgets at most n marks of g and reports whether they were the last.
func (t *Task) forgetMarks(ctx context.Context, tx *Tx, g *dedupGen, n int) (forgot int, last bool, err error) {
	keys := make([]string, 0, n)
	from, to := string(appendGeneration(nil, g.index)), string(appendGeneration(nil, g.index+1))
	last = true
	for e, err := range tx.scan(ctx, from, to) {
		if err != nil {
			return 0, false, err
		}
		if last = len(keys) < n; !last {
			break
		}
		keys = append(keys, e.Key)
	}
	for _, k := range keys {
		tx.del(k)
	}
	g.count -= min(g.count, uint64(len(keys)))
	return len(keys), last, nil
}

// sweepPerCommit bounds what one commit tidies up.
const sweepPerCommit = 100

// defaultDedupFor is the redelivery window of the brokers people use, with room.
const defaultDedupFor = 24 * time.Hour
