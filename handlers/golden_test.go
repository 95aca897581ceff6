package handlers_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
)

var updateStored = flag.Bool("update-stored", false, "write the files of testdata/sessions and testdata/windows that are missing")

// State that was ever stored is opened and gone on with. The files, an entry's key and value in
// hexadecimal on each line, are written once, by -update-stored, and never changed: a new format gets new files.
func TestStoredStateIsGoneOnWith(t *testing.T) {
	sessions := setting{kind: "session", size: 5, delay: 20, lateness: 15, merge: true}
	retracting := sessions
	retracting.mode, retracting.trigger, retracting.every = handlers.Retracting, "clock", 3
	copies := setting{kind: "sliding", size: 10, slide: 3, delay: 12, lateness: 15}
	sliced := copies
	sliced.merge = true
	for _, tt := range []struct {
		file string
		s    setting
		then func(*handlers.Window[event, string]) // what the handler is by now
		old  bool                                  // it is not written like this any more
	}{
		// The first format did not say what the allowed lateness was.
		{"sessions/plain", sessions, nil, true},
		{"sessions/retracting", retracting, nil, true},
		{"windows/copies", copies, nil, true},
		{"windows/slices", sliced, nil, true},
		{"sessions/plain-2", sessions, nil, false},
		{"sessions/retracting-2", retracting, nil, false},
		{"windows/copies-2", copies, nil, false},
		{"windows/slices-2", sliced, nil, false},
		// What was stored with a value for each window stays so when a Merge is there.
		{"windows/copies-2", copies, func(w *handlers.Window[event, string]) { w.Merge = sliced.handler().Merge }, false},
	} {
		t.Run(fmt.Sprintf("%s, changed %t", tt.file, tt.then != nil), func(t *testing.T) { tt.s.goesOn(t, tt.file, tt.old, tt.then) })
	}
}

func (s setting) goesOn(t *testing.T, file string, old bool, then func(*handlers.Window[event, string])) {
	before := at("a@0", "b@1", "a@20", "a@8", "b@2", "c@37", "a@10", "d@36")
	after := at("a@4", "b@2", "e@60", "c@42", "f@99")
	id := stateful.TaskID{App: "test", Handler: "lists"}
	file = "testdata/" + file + ".golden"
	b := memory.New()
	e := newEngine(t, s.handler(), func(c *stateful.Config) {
		c.Backend, c.Now = b, func() time.Time { return time.UnixMilli(1000) }
	})
	e.send(before...)
	now := dump(t, b, id)
	was, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && *updateStored {
		was = now
		err = os.WriteFile(file, was, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !old && !bytes.Equal(ofTables(now), ofTables(was)) {
		t.Errorf("what is stored is now\n%s\nand was\n%s", ofTables(now), ofTables(was))
	}
	e.cfg.Backend = load(t, was, id)
	if then != nil {
		w := s.handler()
		then(&w)
		e.handler = w
	}
	e.restart()
	e.send(after...)
	e.end()
	if got, want := e.long(), s.expect(slices.Concat(before, after)); !slices.Equal(got, want) {
		t.Errorf("published\n%q\nwant\n%q", got, want)
	}
}

func dump(t testing.TB, b stateful.Backend, id stateful.TaskID) []byte {
	t.Helper()
	s, _, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for e, err := range s.Scan(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key[0] != 'o' { // rows are not the handler's
			fmt.Fprintf(&out, "%x %x\n", e.Key, e.Value)
		}
	}
	return out.Bytes()
}

func load(t *testing.T, file []byte, id stateful.TaskID) *memory.Backend {
	t.Helper()
	b := memory.New()
	s, _, err := b.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	c := stateful.Commit{Seq: 1}
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), " ")
		key, err := hex.DecodeString(k)
		if err != nil {
			t.Fatal(err)
		}
		value, err := hex.DecodeString(v)
		if err != nil {
			t.Fatal(err)
		}
		c.Writes = append(c.Writes, stateful.Write{Key: string(key), Value: value})
	}
	if err := s.Submit(t.Context(), c).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// ofTables leaves the lines of tables and timers: the task's own entry has a format of its own.
func ofTables(file []byte) []byte {
	var out []byte
	for line := range bytes.Lines(file) {
		if line[0] == '7' { // 's' and 't'
			out = append(out, line...)
		}
	}
	return out
}
