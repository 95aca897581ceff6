package stateful

import (
	"cmp"
	"slices"
)

// stored knows which rows and handles of the outbox are in a task's store, apart for each sink: one
// that takes no rows, or whose rows are kept for longer, holds back nothing of the others.
type stored struct {
	sinks []storedOf
	n     int
}

type storedOf struct {
	sink string
	rows []storedRow // oldest first
}

type storedRow struct {
	seq      uint64
	prepared bool // it is the handle of what a sink reserved
}

// add notes a row, or a handle. For each sink they are noted in order.
func (s *stored) add(sink string, seq uint64, prepared bool) {
	s.n++
	r := storedRow{seq, prepared}
	for i := range s.sinks {
		if of := &s.sinks[i]; of.sink == sink {
			of.rows = append(of.rows, r)
			return
		}
	}
	s.sinks = append(s.sinks, storedOf{sink, []storedRow{r}})
}

// sort puts in order what was noted out of order.
func (s *stored) sort() {
	for _, of := range s.sinks {
		slices.SortStableFunc(of.rows, func(a, b storedRow) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// trim forgets up to limit of what published no longer needs, and deletes it in tx.
func (s *stored) trim(limit int, published map[string]Published, tx *Tx) {
	for i := range s.sinks {
		of := &s.sinks[i]
		upTo := published[of.sink].Trim
		n := 0
		tx.keyMem = tx.keyMem[:0]
		for ; n < len(of.rows) && limit > 0 && of.rows[n].seq <= upTo; n++ {
			if r := of.rows[n]; r.prepared {
				tx.del(preparedKey(Prepared{Sink: of.sink, Seq: r.seq}))
			} else {
				tx.keyMem = appendRowKey(tx.keyMem, r.seq)
			}
			limit--
		}
		for keys := string(tx.keyMem); keys != ""; keys = keys[rowKeySize:] { // one piece of memory for all
			tx.del(keys[:rowKeySize])
		}
		of.rows = of.rows[n:]
		s.n -= n
	}
}
