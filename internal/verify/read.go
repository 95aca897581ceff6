package verify

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var be = binary.BigEndian

// Read reads the folders of state and log, which may be one. It changes nothing in them; no
// process may have them open.
func Read(stateDir, logDir string) (*Data, error) {
	log, err := open(logDir)
	if err != nil {
		return nil, err
	}
	state := log
	if stateDir != logDir {
		if state, err = open(stateDir); err != nil {
			return nil, errors.Join(err, log.Close())
		}
	}
	d, err := read(folder{state}, log)
	err = errors.Join(err, log.Close())
	if state != log {
		err = errors.Join(err, state.Close())
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func open(dir string) (*pebble.DB, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: vfs.Default, ReadOnly: true, Logger: Silent{}, MemTableSize: 64 << 20})
	if err != nil {
		return nil, fmt.Errorf("verify: open %s: %w", dir, err)
	}
	return db, nil
}

// Silent keeps Pebble from writing to standard error.
type Silent struct{}

// Infof implements [pebble.Logger].
func (Silent) Infof(string, ...any) {}

// Errorf implements [pebble.Logger].
func (Silent) Errorf(string, ...any) {}

// Fatalf implements [pebble.Logger].
func (Silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...)) // of a reader: nothing is lost
}

func read(state tasks, log *pebble.DB) (*Data, error) {
	d := &Data{}
	var err error
	in, err := readTopic(log, Input)
	if err != nil || in.id == "" {
		return d, err
	}
	d.InputLog, d.Sealed = in.id, in.sealed
	if d.Inputs, err = decode[Event](in); err != nil {
		return nil, err
	}
	for _, t := range []struct {
		name string
		to   *[][]Event
	}{{Echo, &d.Echoes}, {Late, &d.Lates}} {
		topic, err := readTopic(log, t.name)
		if err != nil {
			return nil, err
		}
		if *t.to, err = decode[Event](topic); err != nil {
			return nil, err
		}
	}
	sums, err := readTopic(log, Sums)
	if err != nil {
		return nil, err
	}
	if d.Sums, err = decode[Sum](sums); err != nil {
		return nil, err
	}
	n := len(d.Inputs)
	d.Echoes, d.Lates, d.Sums = padded(d.Echoes, n), padded(d.Lates, n), padded(d.Sums, n)
	d.Echo, d.Window, d.Ledger = make([]Task, n), make([]Task, n), make([]map[uint64]uint64, n)
	for p := range n {
		d.Ledger[p] = make(map[uint64]uint64)
		err := errors.Join(
			readTask(state, Echo, p, &d.Echo[p], d.Ledger[p]),
			readTask(state, Sums, p, &d.Window[p], nil),
		)
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// padded gives a topic that does not exist yet its empty partitions.
func padded[T any](parts [][]T, n int) [][]T {
	for len(parts) < n {
		parts = append(parts, nil)
	}
	return parts
}

// each calls f with the entries whose keys begin with prefix, less it.
func each(db *pebble.DB, prefix []byte, f func(k, v []byte) error) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()
		if len(k) < len(prefix) || string(k[:len(prefix)]) != string(prefix) {
			break
		}
		v, err := it.ValueAndErr()
		if err == nil {
			err = f(k[len(prefix):], v)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("verify: key %q: %w", k, err), it.Close())
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// readTask reads the entries of a task.
func readTask(state tasks, handler string, partition int, t *Task, ledger map[uint64]uint64) error {
	t.NextRow = 1
	return state.each(handler, partition, func(k, v []byte) error {
		switch {
		case k[0] == 'm':
			return t.parse(v)
		case k[0] == 'o' && len(k) == 9:
			t.Rows = append(t.Rows, int64(be.Uint64(k[1:])^1<<63))
		case k[0] == 'u' && ledger != nil && len(k) == 9 && len(v) == 8:
			ledger[be.Uint64(k[1:])] = be.Uint64(v)
		case k[0] == 'u' && ledger != nil:
			return fmt.Errorf("no entry of the ledger: %x", v)
		}
		return nil
	})
}

// parse reads a task's own entry.
func (t *Task) parse(v []byte) error {
	c := &cursor{b: v}
	if n := c.byte(); n != 4 {
		return fmt.Errorf("a task's own entry has version %d", n)
	}
	c.uvarint() // incarnation
	t.NextRow = int64(c.uvarint())
	watermark, advanced := c.varint(), c.varint()
	t.Advancing = advanced < watermark
	c.varint() // the last firing
	c.byte()
	c.string()
	c.byte() // whether silence made it fire
	for range c.uvarint() {
		topic, log, offset, high := c.string(), c.string(), c.varint(), c.varint()
		c.byte() // whether the input is idle
		if topic == Input {
			t.Log, t.Position, t.Ended = log, offset, high == math.MaxInt64
		}
	}
	return c.err
}

// topic is what is stored of one.
type topic struct {
	name   string
	id     string // "" when there is none
	sealed bool
	values [][][]byte // per partition
}

func readTopic(db *pebble.DB, name string) (t topic, err error) {
	t.name = name
	v, closer, err := db.Get(append([]byte("et"), name...))
	if errors.Is(err, pebble.ErrNotFound) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if len(v) != 14 || v[0] != 1 {
		return t, errors.Join(fmt.Errorf("verify: topic %s is %x", name, v), closer.Close())
	}
	id := append([]byte(nil), v[1:9]...)
	t.id, t.sealed = hex.EncodeToString(id), v[13]&1 != 0
	t.values = make([][][]byte, be.Uint32(v[9:]))
	if err := closer.Close(); err != nil {
		return t, err
	}
	for p := range t.values {
		prefix := be.AppendUint32(append([]byte("er"), id...), uint32(p))
		err := each(db, prefix, func(k, v []byte) error {
			if len(k) != 8 || be.Uint64(k) != uint64(len(t.values[p])) {
				return fmt.Errorf("block at offset %x, want %d: records are missing or there twice", k, len(t.values[p]))
			}
			values, err := blockValues(v)
			t.values[p] = append(t.values[p], values...)
			return err
		})
		if err != nil {
			return t, fmt.Errorf("topic %s, partition %d: %w", name, p, err)
		}
	}
	return t, nil
}

// blockValues returns the records' values.
func blockValues(v []byte) (values [][]byte, err error) {
	c := &cursor{b: append([]byte(nil), v...)}
	if n := c.byte(); n != 1 {
		return nil, fmt.Errorf("a block has version %d", n)
	}
	head := c.take(16) // count, appended, length
	if c.err != nil {
		return nil, c.err
	}
	for range be.Uint32(head) {
		c.optional()
		values = append(values, c.optional())
		c.varint()
		c.uvarint()
	}
	return values, c.err
}

func decode[T any](t topic) ([][]T, error) {
	out := make([][]T, len(t.values))
	for p, values := range t.values {
		out[p] = make([]T, len(values))
		for i, v := range values {
			if err := json.Unmarshal(v, &out[p][i]); err != nil {
				return nil, fmt.Errorf("verify: %s, partition %d, offset %d: %w", t.name, p, i, err)
			}
		}
	}
	return out, nil
}

// cursor reads numbers and strings; the first fault sticks.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) take(n uint64) []byte {
	if c.err != nil || n > uint64(len(c.b)) {
		c.err = errors.New("it ends too early")
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	c.take(uint64(max(n, 0)))
	if n <= 0 {
		c.err = errors.New("no number")
		return 0
	}
	return v
}

func (c *cursor) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) string() string { return string(c.take(c.uvarint())) }

func (c *cursor) optional() []byte {
	n := c.uvarint()
	if n == 0 {
		return nil
	}
	return c.take(n - 1)
}
