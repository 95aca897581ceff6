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

var updateSessions = flag.Bool("update-sessions", false, "write the files of testdata/sessions that are missing")

// State of sessions that was ever stored is opened and gone on with. The files, an entry's key and value in
// hexadecimal on each line, are written once, by -update-sessions, and never changed: a new format gets new files.
func TestStoredSessionsAreGoneOnWith(t *testing.T) {
	plain := setting{kind: "session", size: 5, delay: 20, lateness: 15, merge: true}
	retracting := plain
	retracting.mode, retracting.trigger, retracting.every = handlers.Retracting, "clock", 3
	before := at("a@0", "b@1", "a@20", "a@8", "b@2", "c@37", "a@10", "d@36")
	after := at("a@4", "b@2", "e@60", "c@42", "f@99")
	for _, tt := range []struct {
		name string
		s    setting
	}{{"plain", plain}, {"retracting", retracting}} {
		t.Run(tt.name, func(t *testing.T) {
			id := stateful.TaskID{App: "test", Handler: "lists"}
			file := "testdata/sessions/" + tt.name + ".golden"
			b := memory.New()
			e := newEngine(t, tt.s.handler(), func(c *stateful.Config) {
				c.Backend, c.Now = b, func() time.Time { return time.UnixMilli(1000) }
			})
			e.send(before...)
			now := dump(t, b, id)
			was, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) && *updateSessions {
				was = now
				err = os.WriteFile(file, was, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ofTables(now), ofTables(was)) {
				t.Errorf("what is stored is now\n%s\nand was\n%s", ofTables(now), ofTables(was))
			}
			e.cfg.Backend = load(t, was, id)
			e.restart()
			e.send(after...)
			e.end()
			if got, want := e.long(), tt.s.expect(slices.Concat(before, after)); !slices.Equal(got, want) {
				t.Errorf("published\n%q\nwant\n%q", got, want)
			}
		})
	}
}

func dump(t *testing.T, b stateful.Backend, id stateful.TaskID) []byte {
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
