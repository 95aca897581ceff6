package stateful

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Scope is one key in a transaction: where typed state ([Value], [List], [Map], [Aggregate]) is
// looked up. A handler makes one for the key of the record in hand, or for any other; that one's
// state is then the task's own, for no other partition sees it.
type Scope struct {
	Tx  *Tx
	Key string
}

// State is a typed state of a handler: a [Value], [List], [Map] or [Aggregate]. It is a declaration, made
// once, for example as a variable of the package, and used by all tasks and goroutines: what
// it holds lies in the task of the transaction that is passed to its methods. It must not be changed
// after its first use.
//
// What a record did to it is undone when the record fails, so values that were put in, or
// taken out, must not be changed in place. A value that cannot be encoded when it is committed fails
// its record for good. An entry with a time to live that was written at t is
// there up to t + ttl - 1 ms and gone at t + ttl; it is never read after that. On the event-time
// clock, the default, t is the event time of the record ([Tx.Observe], else the record's own time),
// or the time of the timer or firing in hand, and what has expired is decided by the task's
// watermark; while a timer fires, by the timer's time if that is later than the watermark before. So an entry
// of a late record may be gone at once. On the processing-time clock both are the
// transaction's [Tx.Now].
type State interface {
	// StateName returns the declaration's Name.
	StateName() string
	// Validate returns all faults of the declaration at once.
	Validate() error
	// Schema returns what is stored, for a [Plan]. The declaration must be valid.
	Schema() []SchemaPart
}

// stateName leaves out # and upper case, which are for names that are made here.
var stateName = regexp.MustCompile(`^[a-z0-9._-]{1,30}$`)

// CheckStates returns all faults of the states of a handler at once, names that are given twice included.
func CheckStates(states ...State) error {
	var errs []error
	for i, s := range states {
		if s == nil {
			errs = append(errs, fmt.Errorf("state %d is nil", i))
			continue
		}
		if err := s.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("state %q: %w", s.StateName(), err))
		}
		if slices.ContainsFunc(states[:i], func(o State) bool { return o != nil && o.StateName() == s.StateName() }) {
			errs = append(errs, fmt.Errorf("state %q is named twice: give each its own name", s.StateName()))
		}
	}
	return errors.Join(errs...)
}

func checkState[T any](name string, ttl time.Duration, clock TimerKind, cfg StateCodecConfig[T]) error {
	var errs []error
	if !stateName.MatchString(name) {
		errs = append(errs, fmt.Errorf("Name is %q; it must match %s", name, stateName))
	}
	if ttl < 0 {
		errs = append(errs, errors.New("TTL is negative: leave it 0 for state that does not expire"))
	}
	if clock > ProcessingTime {
		errs = append(errs, errors.New("Clock must be EventTime or ProcessingTime"))
	}
	if _, err := NewStateCodec(cfg); err != nil {
		errs = append(errs, fmt.Errorf("State: %w", err))
	}
	return errors.Join(errs...)
}

// boundState is a declared state in a task.
type boundState struct {
	name   string
	prefix string // of its keys in the store
	cells  expiring
}

// expiring is what the sweep needs of cells, whatever they hold.
type expiring interface {
	// expire removes the cell of key if it has expired, else returns when it will: NoTime when
	// there is nothing that will. ok is false when it is not in memory.
	expire(key string, now int64) (at int64, ok bool)
}

// lasting is a value and when it is gone.
type lasting[T any] struct {
	val     T
	expiry  int64
	indexed int64 // the index has a key for this time, or for an earlier one; NoExpiry: it has none
}

type lastingCodec[T any] struct{ *StateCodec[T] }

// Append implements [ValueCodec].
func (c lastingCodec[T]) Append(b []byte, v *lasting[T], _ int64) ([]byte, error) {
	return c.StateCodec.Append(b, &v.val, v.expiry)
}

// Decode implements [ValueCodec].
func (c lastingCodec[T]) Decode(b []byte, v *lasting[T]) (expiry int64, err error) {
	v.expiry, err = c.StateCodec.Decode(b, &v.val)
	v.indexed = v.expiry
	return v.expiry, err
}

// cells is the state of one declaration in one task.
type cells[T any] struct {
	t      *Task
	table  *Table[lasting[T]]
	ttl    time.Duration
	clock  TimerKind
	maxKey int
	last   *Cell[lasting[T]] // that was looked up last
	key    []byte            // memory to build a key in
}

// cellsOf returns the state called name of tx's task.
func cellsOf[T any](tx *Tx, name string, ttl time.Duration, clock TimerKind, cfg *StateCodecConfig[T]) (*cells[T], error) {
	t := tx.t
	for i := range t.states {
		if s := &t.states[i]; s.name == name {
			if c, ok := s.cells.(*cells[T]); ok {
				return c, nil
			}
			return nil, &stopError{fmt.Errorf("stateful: handler %q: state %q is declared twice, of different types: give each its own name", t.id.Handler, name)}
		}
	}
	return newCells(t, name, ttl, clock, cfg)
}

func newCells[T any](t *Task, name string, ttl time.Duration, clock TimerKind, cfg *StateCodecConfig[T]) (*cells[T], error) {
	codec, err := NewStateCodec(*cfg)
	if err == nil && slices.ContainsFunc(t.tables, func(tb table) bool { return tb.space() == tablePrefix(name) }) {
		err = errors.New("a table of the handler has this name")
	}
	if err != nil { // it will not get better by itself
		return nil, &stopError{fmt.Errorf("stateful: handler %q: state %q: %w", t.id.Handler, name, err)}
	}
	s := &cells[T]{
		t: t, table: NewTable[lasting[T]](t, name, lastingCodec[T]{codec}), ttl: ttl, clock: max(clock, EventTime),
		maxKey: 2*t.p.cfg.Limits.KeyBytes + 16, // two keys at most, and what tells them apart
	}
	t.states = append(t.states, boundState{name, s.table.prefix, s})
	return s, nil
}

// read returns the value of a key that has one at most, and whether there is one.
func (s *cells[T]) read(ctx context.Context, at Scope) (value T, ok bool, err error) {
	c, err := s.load(ctx, at.Key)
	if err != nil {
		return value, false, err
	}
	value, ok = s.get(at.Tx, c)
	return value, ok, nil
}

// remove takes the value of such a key away.
func (s *cells[T]) remove(ctx context.Context, at Scope) error {
	c, err := s.load(ctx, at.Key)
	if err == nil {
		s.delete(at.Tx, c)
	}
	return err
}

// load returns the cell of key, reading it when it is not in memory.
func (s *cells[T]) load(ctx context.Context, key string) (*Cell[lasting[T]], error) {
	if c := s.find(key); c != nil {
		return c, nil
	}
	if len(key) > s.maxKey {
		return nil, Permanent(fmt.Errorf("the key of a state has %d bytes; the limit is Limits.KeyBytes, %d", len(key), s.t.p.cfg.Limits.KeyBytes))
	}
	s.key = append(s.key[:0], key...)
	c, err := s.table.Load(ctx, s.key)
	if err == nil {
		s.last = c
	}
	return c, err
}

// find returns the cell of key if it is in memory, else nil. Most are asked for twice in a row.
func (s *cells[T]) find(key string) *Cell[lasting[T]] {
	if c := s.last; c != nil && c.full != "" && c.Key() == key {
		return c
	}
	c := s.table.FindString(key)
	if c != nil {
		s.last = c
	}
	return c
}

// get returns what is in c, unless it has expired.
func (s *cells[T]) get(tx *Tx, c *Cell[lasting[T]]) (v T, ok bool) {
	if !c.has || c.val.expiry != NoExpiry && c.val.expiry <= tx.expiryClock(s.clock) {
		return v, false
	}
	return c.val.val, true
}

func (s *cells[T]) put(tx *Tx, c *Cell[lasting[T]], v T) error {
	expiry, err := s.expiry(tx)
	if err == nil {
		s.putUntil(tx, c, v, expiry)
	}
	return err
}

// expiry returns when what is written now is gone.
func (s *cells[T]) expiry(tx *Tx) (int64, error) {
	if s.ttl <= 0 {
		return NoExpiry, nil
	}
	at, err := tx.writtenAt(s.clock)
	return ExpiryAt(at, s.ttl), err
}

func (s *cells[T]) putUntil(tx *Tx, c *Cell[lasting[T]], v T, expiry int64) {
	next := lasting[T]{v, expiry, c.val.indexed}
	if expiry != NoExpiry && (next.indexed == NoExpiry || expiry < next.indexed) {
		s.unindex(tx, c)
		s.t.index(tx, s.clock, expiry, c.full)
		next.indexed = expiry
	}
	s.table.Put(c, next)
}

func (s *cells[T]) delete(tx *Tx, c *Cell[lasting[T]]) {
	if c.has {
		s.unindex(tx, c)
		s.table.Delete(c)
	}
}

func (s *cells[T]) unindex(tx *Tx, c *Cell[lasting[T]]) {
	if c.val.indexed != NoExpiry {
		tx.del(expiryKey(s.clock, c.val.indexed, c.full))
	}
}

// expire implements expiring.
func (s *cells[T]) expire(key string, now int64) (int64, bool) {
	c := s.table.FindString(key)
	switch {
	case c == nil:
		return 0, false
	case !c.has || c.val.expiry == NoExpiry:
		return NoTime, true
	case c.val.expiry <= now:
		s.table.Delete(c)
		return NoTime, true
	}
	c.val.indexed = c.val.expiry
	return c.val.expiry, true
}
