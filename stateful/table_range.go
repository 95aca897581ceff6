package stateful

import (
	"context"
	"iter"
)

// Range yields, in byte order of the keys, the cells in [from, to) that have a value, as the
// transaction in hand sees them, loading those that were not in memory. Nothing may be committed
// while it runs; cells may be changed, and ones made meanwhile may be missing.
func (tb *Table[T]) Range(ctx context.Context, from, to []byte) iter.Seq2[*Cell[T], error] {
	lo, hi := tb.prefix+string(from), tb.prefix+string(to)
	return func(yield func(*Cell[T], error) bool) {
		var own []*Cell[T] // changed ones: the store may not have them
		for _, i := range tb.sorted.between(len(tb.dirty), func(i int32) string { return tb.dirty[i].full }, lo, hi) {
			if c := tb.dirty[i]; c.has {
				own = append(own, c)
			}
		}
		// flush yields own cells below key, or all.
		flush := func(key string, all bool) bool {
			for len(own) > 0 && (all || own[0].full < key) {
				c := own[0]
				own = own[1:]
				if c.has && !yield(c, nil) {
					return false
				}
			}
			return true
		}
		for e, err := range tb.t.store.Scan(ctx, lo, hi) {
			if err != nil {
				yield(nil, tb.t.tx.faulty("scan state", err))
				return
			}
			if !flush(e.Key, false) {
				return
			}
			c := tb.index[e.Key[len(tb.prefix):]]
			if c == nil {
				c = tb.add(e.Key)
				if err := tb.decode(c, e.Value); err != nil {
					tb.release(c)
					yield(nil, err)
					return
				}
			}
			if len(own) > 0 && own[0] == c {
				own = own[1:]
			}
			if c.has && !yield(c, nil) {
				return
			}
		}
		flush("", true)
	}
}

// Names yields, in byte order, the keys in [from, to) that have a value, as the transaction in hand sees
// them, without loading anything. An empty to is the end of the table. Nothing may be changed while it runs.
func (tb *Table[T]) Names(ctx context.Context, from, to []byte) iter.Seq2[string, error] {
	lo, hi := tb.prefix+string(from), tb.prefix+string(to)
	if len(to) == 0 {
		hi = tb.end()
	}
	return func(yield func(string, error) bool) {
		var own []string // changed ones: the store may not have them
		for _, i := range tb.sorted.between(len(tb.dirty), func(i int32) string { return tb.dirty[i].full }, lo, hi) {
			if c := tb.dirty[i]; c.has {
				own = append(own, c.Key())
			}
		}
		for e, err := range tb.t.store.Scan(ctx, lo, hi) {
			if err != nil {
				yield("", tb.t.tx.faulty("scan state", err))
				return
			}
			name := e.Key[len(tb.prefix):]
			for len(own) > 0 && own[0] <= name {
				if own[0] < name && !yield(own[0], nil) {
					return
				}
				own = own[1:]
			}
			if c := tb.index[name]; (c == nil || c.has) && !yield(name, nil) {
				return
			}
		}
		for _, name := range own {
			if !yield(name, nil) {
				return
			}
		}
	}
}
