package stateful

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Marks of records without a position are kept in generations of half the time
// asked for, so that each is remembered at least that long and whole generations can be
// dropped without an index by time (F4).
const dedupGenerations = 3

type dedupGen struct {
	index int64 // time divided by the generation's length
	count uint64
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

// generation returns that of marks made now.
func (t *Task) generation(tx *Tx) int64 {
	return tx.Now().UnixMilli() / max(1, t.p.cfg.Limits.DedupFor.Milliseconds()/(dedupGenerations-1))
}

// mark remembers the record with the transaction in hand.
func (t *Task) mark(tx *Tx, topic, id string) error {
	l, m, gen := &t.p.cfg.Limits, &t.meta, t.generation(tx)
	if n := len(m.dedup); n == 0 || m.dedup[n-1].index < gen {
		m.dedup = append(m.dedup, dedupGen{index: gen})
	}
	var total uint64
	for _, g := range m.dedup {
		if g.index > gen-dedupGenerations { // older ones go with the next commits
			total += g.count
		}
	}
	if total >= uint64(l.DedupMarks) {
		if !l.DedupWeaken {
			return TaskFault(errDedupFull)
		}
		t.dropMarks = true
	}
	last := &m.dedup[len(m.dedup)-1]
	last.count++
	tx.put(t.markKey(last.index, topic, id), []byte{})
	return nil
}

// sweepMarks removes a bounded number of marks that are no longer needed.
func (t *Task) sweepMarks(ctx context.Context, tx *Tx) error {
	m := &t.meta
	if len(m.dedup) == 0 || m.dedup[0].index > t.generation(tx)-dedupGenerations && !t.dropMarks {
		return nil
	}
	return t.sweepOldest(ctx, tx)
}

func (t *Task) sweepOldest(ctx context.Context, tx *Tx) error {
	m := &t.meta
	old := &m.dedup[0]
	removed := 0
	from, to := string(appendGeneration(nil, old.index)), string(appendGeneration(nil, old.index+1))
	for e, err := range t.store.Scan(ctx, from, to) {
		if err != nil {
			return TaskFault(fmt.Errorf("sweep marks: %w", err))
		}
		tx.del(e.Key)
		old.count = max(old.count, 1) - 1
		if removed++; removed >= sweepPerCommit {
			return nil
		}
	}
	t.dropMarks = false
	if len(m.dedup) > 1 {
		m.dedup = m.dedup[1:]
	}
	return nil
}

// sweepPerCommit bounds what one commit tidies up.
const sweepPerCommit = 100

// defaultDedupFor is the redelivery window of the brokers people use, with room.
const defaultDedupFor = 24 * time.Hour
