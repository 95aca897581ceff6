package verify_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/verify"
)

// halfway leads a life that is killed in its middle, and keeps a copy of what it left behind.
func halfway(t *testing.T, separate bool) (l verify.Life, copied string, marks verify.Marks) {
	t.Helper()
	l = newLife(t)
	l.Separate, l.Records, l.Batch = separate, 20_000, 10
	for after := 20 * time.Millisecond; ; after *= 2 {
		ended, err := life(t, l, &killing{after: after, fromReady: true})
		if err != nil || ended {
			t.Fatalf("the worker ended before its kill: %v", err)
		}
		d, err := verify.Read(l.StateDir(), l.LogDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := verify.Standard.Check(d); err != nil {
			t.Fatal(err)
		}
		if d.Echo[0].Position > 0 && d.Window[0].Position > 0 && len(d.Echoes[0]) > 0 {
			break
		}
	}
	copied = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(l.Dir)); err != nil {
		t.Fatal(err)
	}
	finish(t, l)
	d, err := verify.Read(l.StateDir(), l.LogDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(verify.Standard.Check(d), d.Finished()); err != nil {
		t.Fatal(err)
	}
	return l, copied, d.Marks()
}

func putBack(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

func TestAnOldCopyOfTheWholeFolderIsCaught(t *testing.T) {
	l, old, marks := halfway(t, false)
	putBack(t, old, l.Dir)
	d, err := verify.Read(l.StateDir(), l.LogDir())
	if err != nil {
		t.Fatal(err)
	}
	// In itself it is right; it is only not what was there.
	if err := verify.Standard.Check(d); err != nil {
		t.Fatal(err)
	}
	wantFault(t, d.Marks().After(marks), "an older copy was put back")
}

func TestAnOldCopyOfTheStateIsCaughtAndRefused(t *testing.T) {
	l, old, marks := halfway(t, true)
	putBack(t, filepath.Join(old, "state"), l.StateDir())
	wantFault(t, judge(l, marks), "an older copy of the state was put back")
	_, refused := life(t, l, &killing{after: 20 * time.Second})
	if refused == nil || !strings.Contains(refused.Error(), "the state is older than the sink") {
		t.Errorf("the worker on it says %v, want a refusal", refused)
	}
}

func TestAnOldCopyOfTheLogIsCaughtAndRefused(t *testing.T) {
	l, old, marks := halfway(t, true)
	putBack(t, filepath.Join(old, "log"), l.LogDir())
	wantFault(t, judge(l, marks), "an older copy of the log was put back")
	_, refused := life(t, l, &killing{after: 20 * time.Second})
	// The outbox refuses it when more outputs are gone than the state keeps, else the input's log does.
	if refused == nil || !strings.Contains(refused.Error(), "the sink lost data") && !strings.Contains(refused.Error(), "it lost records") {
		t.Errorf("the worker on it says %v, want a refusal", refused)
	}
}
