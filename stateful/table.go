package stateful

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// Table is the decoded state of one task: a map from key to T whose values are
// decoded once, when they are first needed, and encoded once per commit. An
// instance makes its tables in Instance and keeps them as long as it lives. A
// Table is used by the task's goroutine only.
type Table[T any] struct {
	t      *Task
	prefix string
	codec  ValueCodec[T]
	index  map[string]*Cell[T] // by the key without prefix
	chunk  []Cell[T]           // cells not given out yet
	free   []*Cell[T]
	key    []byte // for lookups in the store

	dirty     []*Cell[T]
	sorted    byKey // dirty
	undo      []undoCell[T]
	undoRec   uint64 // the record that undo belongs to
	dirtyMark int
}

// ValueCodec stores the values of a [Table]. A [StateCodec] is one; another may put several
// values into one entry. What it appends begins with a [ValueHeader].
type ValueCodec[T any] interface {
	// Append appends the header and encoding of *v; see [StateCodec.Append].
	Append(b []byte, v *T, expiry int64) ([]byte, error)
	// Decode is its inverse; see [StateCodec.Decode].
	Decode(b []byte, v *T) (expiry int64, err error)
}

// Cell is one entry of a [Table], present or not. It is valid until the commit that
// deletes it, or until the instance is dropped.
type Cell[T any] struct {
	full   string // the store's key
	val    T
	has    bool
	stored bool // the store has, or had, a value for it
	unread bool // nobody looked
	dirty  bool
	prefix uint8
}

type undoCell[T any] struct {
	c          *Cell[T]
	val        T
	has, dirty bool
}

// table is what a transaction needs of its tables, whatever they hold.
type table interface {
	space() string
	rollback(record uint64)
	flush(w *Tx) error
	check(record uint64, b []byte) ([]byte, error)
	pending() int
	size() int
}

// NewTable returns the table called name (1 to 32 bytes, without zero) of a task.
// Two tables of a task must not share a name.
func NewTable[T any](t *Task, name string, codec ValueCodec[T]) *Table[T] {
	tb := &Table[T]{t: t, prefix: tablePrefix(name), codec: codec, index: make(map[string]*Cell[T])}
	t.tables = append(t.tables, tb)
	return tb
}

func tablePrefix(name string) string { return spaceTable + name + "\x00" }

// end returns what comes behind all keys of the table.
func (tb *Table[T]) end() string { return tb.prefix[:len(tb.prefix)-1] + "\x01" }

// Key returns the cell's key. It stays valid for ever.
func (c *Cell[T]) Key() string { return c.full[c.prefix:] }

// Value returns the value and whether there is one. It must not be changed in place.
func (c *Cell[T]) Value() (T, bool) { return c.val, c.has }

// Find returns the cell of key if it is in memory, else nil. It reads nothing.
func (tb *Table[T]) Find(key []byte) *Cell[T] { return tb.index[string(key)] }

// FindString is [Table.Find] for a string.
func (tb *Table[T]) FindString(key string) *Cell[T] { return tb.index[key] }

// Load returns the cell of key, reading it from the store when it is not in memory.
func (tb *Table[T]) Load(ctx context.Context, key []byte) (*Cell[T], error) {
	if c := tb.index[string(key)]; c != nil {
		return c, nil
	}
	c := tb.Fresh(key)
	vals, err := tb.t.store.Get(ctx, c.full)
	if err == nil && vals[0] != nil {
		err = tb.decode(c, vals[0])
	} else if err != nil {
		err = tb.t.tx.faulty("read state", err)
	}
	if err != nil {
		tb.release(c)
		return nil, err
	}
	return c, nil
}

func (tb *Table[T]) decode(c *Cell[T], b []byte) error {
	if _, err := tb.codec.Decode(b, &c.val); err != nil {
		return tb.t.tx.faulty(fmt.Sprintf("decode state of key %q", c.Key()), err)
	}
	c.has, c.stored = true, true
	return nil
}

// Fresh returns the cell of a key that is known to be neither in memory nor in
// the store. It has no value.
func (tb *Table[T]) Fresh(key []byte) *Cell[T] {
	tb.key = append(append(tb.key[:0], tb.prefix...), key...)
	return tb.add(string(tb.key))
}

func (tb *Table[T]) add(full string) *Cell[T] {
	var c *Cell[T]
	if n := len(tb.free); n > 0 {
		c, tb.free = tb.free[n-1], tb.free[:n-1]
	} else {
		if len(tb.chunk) == 0 {
			tb.chunk = make([]Cell[T], 64)
		}
		c, tb.chunk = &tb.chunk[0], tb.chunk[1:]
	}
	c.full, c.prefix = full, uint8(len(tb.prefix))
	tb.index[c.Key()] = c
	return c
}

// Cold yields, in byte order of the keys, the cells of stored entries in
// [from, to) that were not in memory, after loading them. Nothing may be
// committed while it runs; changing cells is allowed.
func (tb *Table[T]) Cold(ctx context.Context, from, to []byte) iter.Seq2[*Cell[T], error] {
	lo, hi := tb.prefix+string(from), tb.prefix+string(to)
	return func(yield func(*Cell[T], error) bool) {
		for e, err := range tb.t.store.Scan(ctx, lo, hi) {
			if err != nil {
				yield(nil, tb.t.tx.faulty("scan state", err))
				return
			}
			if tb.index[e.Key[len(tb.prefix):]] != nil {
				continue
			}
			c := tb.add(e.Key)
			if err := tb.decode(c, e.Value); err != nil {
				tb.release(c)
				yield(nil, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// First returns the first stored key at or after from, empty when there is none.
// It sees what was committed, not what the transaction in hand changed.
func (tb *Table[T]) First(ctx context.Context, from []byte) (string, error) {
	for e, err := range tb.t.store.Scan(ctx, tb.prefix+string(from), tb.end()) {
		if err != nil {
			return "", tb.t.tx.faulty("scan state", err)
		}
		return e.Key[len(tb.prefix):], nil
	}
	return "", nil
}

// Put sets the value of c. If the record in hand fails the old value comes back, so
// v must not share memory that is changed in place. If the commit cannot encode v, the record
// that put it fails for good, unless another of the same commit replaced it.
func (tb *Table[T]) Put(c *Cell[T], v T) {
	tb.remember(c)
	c.val, c.has = v, true
}

// Delete takes the value of c away. Once that is committed the cell is gone.
func (tb *Table[T]) Delete(c *Cell[T]) {
	tb.remember(c)
	var zero T
	c.val, c.has = zero, false
}

// Remove takes the value of a key away, whether it is in memory or not, without reading it.
func (tb *Table[T]) Remove(key []byte) {
	c := tb.index[string(key)]
	if c == nil {
		c = tb.Fresh(key)
		c.stored, c.unread = true, true // as far as is known
	}
	tb.Delete(c)
}

// Len returns how many cells are in memory.
func (tb *Table[T]) Len() int { return len(tb.index) }

func (tb *Table[T]) remember(c *Cell[T]) {
	if tb.undoRec != tb.t.tx.record {
		tb.undoRec, tb.undo, tb.dirtyMark = tb.t.tx.record, tb.undo[:0], len(tb.dirty)
	}
	tb.undo = append(tb.undo, undoCell[T]{c, c.val, c.has, c.dirty})
	if !c.dirty {
		c.dirty = true
		tb.dirty = append(tb.dirty, c)
	}
}

func (tb *Table[T]) rollback(record uint64) {
	if tb.undoRec != record {
		return
	}
	for _, u := range slices.Backward(tb.undo) {
		if u.c.val, u.c.has, u.c.dirty = u.val, u.has, u.dirty; u.c.unread && !u.dirty {
			tb.release(u.c) // its value is again what the store has
		}
	}
	tb.undo, tb.dirty = tb.undo[:0], tb.dirty[:tb.dirtyMark]
	tb.sorted.cut(len(tb.dirty))
}

// flush writes the changed cells into the commit and lets go of the deleted ones.
func (tb *Table[T]) flush(tx *Tx) error {
	for _, c := range tb.dirty {
		c.dirty = false
		if !c.has {
			if c.stored {
				tx.writes = append(tx.writes, Write{Key: c.full})
			}
			tb.release(c)
			continue
		}
		at := len(tx.arena)
		b, err := tb.codec.Append(tx.arena, &c.val, 0)
		if err != nil {
			return fmt.Errorf("encode state of key %q: %w", c.Key(), err)
		}
		tx.arena = b
		tx.writes = append(tx.writes, Write{Key: c.full, Value: b[at:len(b):len(b)]})
		c.stored, c.unread = true, false
	}
	tb.dirty, tb.undo, tb.undoRec = tb.dirty[:0], tb.undo[:0], 0
	tb.sorted.cut(0)
	return nil
}

// check encodes what a record put, for nothing but the error. It returns b's memory.
func (tb *Table[T]) check(record uint64, b []byte) ([]byte, error) {
	if tb.undoRec != record {
		return b, nil
	}
	for _, u := range tb.undo {
		if !u.c.has {
			continue
		}
		var err error
		if b, err = tb.codec.Append(b[:0], &u.c.val, 0); err != nil {
			return b, fmt.Errorf("encode state of key %q: %w", u.c.Key(), err)
		}
	}
	return b, nil
}

func (tb *Table[T]) release(c *Cell[T]) {
	delete(tb.index, c.Key())
	*c = Cell[T]{}
	tb.free = append(tb.free, c)
}

func (tb *Table[T]) pending() int  { return len(tb.dirty) }
func (tb *Table[T]) size() int     { return len(tb.index) }
func (tb *Table[T]) space() string { return tb.prefix }
