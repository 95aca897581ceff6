package verify_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pondage/pondage/internal/verify"
)

// judge returns what the verifier says of the folder of a run that should be finished.
func judge(l verify.Life, earlier verify.Marks) error {
	d, err := verify.Read(l.StateDir(), l.LogDir())
	if err != nil {
		return err
	}
	return errors.Join(verify.Standard.Check(d), d.Finished(), complete(d, l.Records), d.Marks().After(earlier))
}

func newLife(t *testing.T) verify.Life {
	return verify.Life{Dir: filepath.Join(t.TempDir(), "data"), Partitions: 3, Seed: 5, Records: 2000, Batch: 100}
}

// finish runs l to its end.
func finish(t *testing.T, l verify.Life) {
	t.Helper()
	if _, err := life(t, l, nil); err != nil {
		t.Fatal(err)
	}
}

func wantFault(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Error("the verifier finds nothing")
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("the verifier says\n%v\nwant something about %q", err, want)
	}
}

func TestARunThatIsLeftAloneIsRight(t *testing.T) {
	for _, separate := range []bool{false, true} {
		t.Run(fmt.Sprintf("separate=%v", separate), func(t *testing.T) {
			l := newLife(t)
			l.Separate = separate
			finish(t, l)
			if err := judge(l, verify.Marks{}); err != nil {
				t.Fatal(err)
			}
			d, err := verify.Read(l.StateDir(), l.LogDir())
			if err != nil {
				t.Fatal(err)
			}
			sums, lates := 0, 0
			for p := range d.Inputs {
				sums, lates = sums+len(d.Sums[p]), lates+len(d.Lates[p])
			}
			// Else the workload tests little.
			if sums < 200 || lates < 20 {
				t.Errorf("%d results and %d late events", sums, lates)
			}
		})
	}
}

func TestAWorkerWithAFaultIsCaught(t *testing.T) {
	for fault, want := range map[string]string{
		verify.LoseFromState:  "input 777 is 0 times in the state",
		verify.LoseEcho:       "want 777",
		verify.DoubleEcho:     "is of input 777, want",
		verify.LoseFromWindow: "want {Key:",
		verify.DoubleInWindow: "want {Key:",
	} {
		t.Run(fault, func(t *testing.T) {
			l := newLife(t)
			l.Sabotage = fault
			finish(t, l)
			wantFault(t, judge(l, verify.Marks{}), want)
		})
	}
}

// entry is a key and its value in a folder.
type entry struct{ k, v []byte }

// entries returns those whose keys begin with prefix.
func entries(t *testing.T, db *pebble.DB, prefix string) (out []entry) {
	t.Helper()
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok && bytes.HasPrefix(it.Key(), []byte(prefix)); ok = it.Next() {
		out = append(out, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if len(out) == 0 {
		t.Fatalf("no key begins with %q", prefix)
	}
	return out
}

// blocks returns the blocks of a topic's records.
func blocks(t *testing.T, db *pebble.DB, topic string) []entry {
	t.Helper()
	id := entries(t, db, "et"+topic)[0].v[1:9]
	return entries(t, db, "er"+string(id))
}

const ledgerPrefix = "s" + verify.App + "\x00" + verify.Echo + "\x00"

func TestAFolderThatWasTamperedWithIsCaught(t *testing.T) {
	set := func(db *pebble.DB, e entry, v []byte) error { return db.Set(e.k, v, pebble.Sync) }
	del := func(db *pebble.DB, e entry) error { return db.Delete(e.k, pebble.Sync) }
	whole := newLife(t)
	finish(t, whole)
	for _, tt := range []struct {
		name   string
		tamper func(t *testing.T, db *pebble.DB) error
		want   string
	}{
		{"an input is lost from the state", func(t *testing.T, db *pebble.DB) error {
			return del(db, entries(t, db, ledgerPrefix+"\x00\x00\x00\x01u")[5])
		}, "0 times in the state"},
		{"an input is in the state twice", func(t *testing.T, db *pebble.DB) error {
			return set(db, entries(t, db, ledgerPrefix+"\x00\x00\x00\x01u")[5], binary.BigEndian.AppendUint64(nil, 2))
		}, "2 times in the state"},
		{"an input is in the state of another partition", func(t *testing.T, db *pebble.DB) error {
			e := entries(t, db, ledgerPrefix+"\x00\x00\x00\x01u")[5]
			e.k[len(ledgerPrefix)+3] = 2
			return set(db, e, e.v)
		}, "effects without their position"},
		{"the first results are lost", func(t *testing.T, db *pebble.DB) error {
			return del(db, blocks(t, db, verify.Sums)[0])
		}, "records are missing"},
		{"the last results are lost", func(t *testing.T, db *pebble.DB) error {
			all := blocks(t, db, verify.Sums)
			return del(db, all[len(all)-1])
		}, "neither published nor stored"},
		{"results are there twice", func(t *testing.T, db *pebble.DB) error {
			all := blocks(t, db, verify.Sums)
			e := all[len(all)-1]
			at := binary.BigEndian.Uint64(e.k[len(e.k)-8:]) + uint64(binary.BigEndian.Uint32(e.v[1:]))
			e.k = binary.BigEndian.AppendUint64(e.k[:len(e.k)-8], at)
			return set(db, e, e.v)
		}, "outputs too many"},
		{"late events are lost", func(t *testing.T, db *pebble.DB) error {
			all := blocks(t, db, verify.Late)
			return del(db, all[len(all)-1])
		}, "topic late has no more"},
		{"two echoes are swapped", func(t *testing.T, db *pebble.DB) error {
			e := blocks(t, db, verify.Echo)[0]
			return set(db, e, swapped(t, e.v, `{"seq":`))
		}, "is of input"},
		{"two results are swapped", func(t *testing.T, db *pebble.DB) error {
			e := blocks(t, db, verify.Sums)[0]
			return set(db, e, swapped(t, e.v, `"mix":`))
		}, "want {Key:"},
		{"the last inputs are lost", func(t *testing.T, db *pebble.DB) error {
			all := blocks(t, db, verify.Input)
			return del(db, all[len(all)-1])
		}, "an older copy of the log was put back"},
		{"the state goes back in its input", func(t *testing.T, db *pebble.DB) error {
			all := entries(t, db, ledgerPrefix+"\x00\x00\x00\x01m")
			id := entries(t, db, "et"+verify.Input)[0].v[1:9]
			return set(db, all[0], moved(all[0].v, fmt.Sprintf("%x", id)))
		}, "effects without their position"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := whole
			l.Dir = filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(l.Dir, os.DirFS(whole.Dir)); err != nil {
				t.Fatal(err)
			}
			if err := judge(l, verify.Marks{}); err != nil {
				t.Fatalf("before: %v", err)
			}
			db, err := pebble.Open(l.LogDir(), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: verify.Silent{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tt.tamper(t, db), db.Close()); err != nil {
				t.Fatal(err)
			}
			wantFault(t, judge(l, verify.Marks{}), tt.want)
		})
	}
}

// swapped exchanges the text after mark, up to the next comma or brace, of the first two records that
// have it in one length.
func swapped(t *testing.T, block []byte, mark string) []byte {
	t.Helper()
	text := func(from int) (at, end int) {
		at = bytes.Index(block[from:], []byte(mark))
		if at < 0 {
			t.Fatalf("no two %s of one length in the block", mark)
		}
		at += from + len(mark)
		return at, at + bytes.IndexAny(block[at:], ",}")
	}
	a, aEnd := text(0)
	b, bEnd := text(aEnd)
	for bEnd-b != aEnd-a || bytes.Equal(block[a:aEnd], block[b:bEnd]) {
		a, aEnd = b, bEnd
		b, bEnd = text(bEnd)
	}
	out := bytes.Clone(block)
	copy(out[a:], block[b:bEnd])
	copy(out[b:], block[a:aEnd])
	return out
}

// moved is a task's own entry with its position one lower. The position is the varint after the log's identity.
func moved(v []byte, log string) []byte {
	at := bytes.Index(v, []byte(log)) + len(log)
	pos, n := binary.Varint(v[at:])
	return append(binary.AppendVarint(bytes.Clone(v[:at]), pos-1), v[at+n:]...)
}
