package statefultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pondage/pondage/stateful"
)

var readChecks = []check{
	{"a missing key is nil and an empty value is not", checkMissing},
	{"values come in the order of the keys", checkOrder},
	{"a deleted key is missing", checkDeleted},
	{"the caller owns what Get returned", checkOwned},
	{"a scan is ordered by byte", checkScanOrder},
	{"a scan is half-open", checkScanHalfOpen},
	{"an empty to scans to the end", checkScanEnd},
	{"a scan that is left early ends", checkScanLeft},
	{"a scan of many entries is whole and Get works within it", checkScanMany},
	{"a done context ends a read", checkReadContext},
}

func checkMissing(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("empty", ""), put("full", "x"))
	values, err := s.Get(ctx, "missing", "empty", "full")
	if err != nil {
		t.Fatal(err)
	}
	if values[0] != nil {
		t.Errorf("missing = %q, want nil", values[0])
	}
	if values[1] == nil || len(values[1]) != 0 {
		t.Errorf("empty = %#v, want a non-nil slice of length 0", values[1])
	}
	if string(values[2]) != "x" {
		t.Errorf("full = %q, want x", values[2])
	}
	if only, err := s.Get(ctx, "empty"); err != nil || only[0] == nil {
		t.Errorf("empty alone = %#v, %v, want a non-nil slice", only[0], err)
	}
	wantScan(t, s, "", "f", "empty=")
	if none, err := s.Get(ctx); err != nil || len(none) != 0 {
		t.Errorf("get of nothing = %q, %v", none, err)
	}
}

func checkOrder(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("c", "3"), put("a", "1"), put("b", "2"))
	values, err := s.Get(ctx, "b", "c", "x", "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.Join(values, []byte(","))); got != "2,3,,1,2" {
		t.Errorf("got %s, want 2,3,,1,2", got)
	}
}

func checkDeleted(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "1"), put("b", "1"))
	commit(t, s, 2, del("a"), del("never there"))
	wantGet(t, s, "a", "-")
	wantScan(t, s, "", "", "b=1")
	commit(t, s, 3, put("a", "3"))
	wantScan(t, s, "", "", "a=3", "b=1")
}

func checkOwned(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "first"), put("b", "first"))
	values, err := s.Get(ctx, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, 2, put("a", "other"), del("b"))
	if _, err := s.Get(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if string(values[0]) != "first" || string(values[1]) != "first" {
		t.Errorf("a later commit and read changed them to %q", values)
	}
	_ = append(values[0], 'x')
	if string(values[1]) != "first" {
		t.Errorf("an append to one value changed the next to %q", values[1])
	}
	copy(values[0], "xxxxx")
	wantGet(t, s, "a", "other")
	for e, err := range s.Scan(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		copy(e.Value, "yyyyy")
	}
	wantGet(t, s, "a", "other")
}

func checkScanOrder(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("b", "4"), put("\xff\xff", "6"), put("a\x00", "2"), put("", "0"), put("\x00", "0"),
		put("a", "1"), put("é", "5"), put("aa", "3"))
	wantScan(t, s, "", "", "=0", "\x00=0", "a=1", "a\x00=2", "aa=3", "b=4", "é=5", "\xff\xff=6")
}

func checkScanHalfOpen(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "1"), put("b", "2"), put("bb", "3"), put("c", "4"))
	wantScan(t, s, "b", "c", "b=2", "bb=3")
	wantScan(t, s, "a\x00", "b\x00", "b=2")
	wantScan(t, s, "b", "b")
	wantScan(t, s, "c", "a")
	wantScan(t, s, "d", "")
}

func checkScanEnd(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	other, _ := openTask(t, b, stateful.TaskID{App: "app", Handler: "clicks", Partition: 2})
	commit(t, other, 1, put("a", "other's"))
	commit(t, s, 1, put("a", "1"), put("\xff\xff\xff\xff", "2"))
	wantScan(t, s, "a", "", "a=1", "\xff\xff\xff\xff=2")
}

func checkScanLeft(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	commit(t, s, 1, put("a", "1"), put("b", "2"))
	n := 0
	for _, err := range s.Scan(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d entries before the break, want 1", n)
	}
	commit(t, s, 2, put("b", "3"))
	wantScan(t, s, "", "", "a=1", "b=3")
}

func checkScanMany(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	const n = 3000
	writes := make([]stateful.Write, n)
	for i := range writes {
		writes[i] = put(fmt.Sprintf("k%05d", i), fmt.Sprint(i))
	}
	commit(t, s, 1, writes...)
	i := 0
	for e, err := range s.Scan(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != fmt.Sprintf("k%05d", i) || string(e.Value) != fmt.Sprint(i) {
			t.Fatalf("entry %d is %s=%s", i, e.Key, e.Value)
		}
		if i%1000 == 0 {
			wantGet(t, s, e.Key, fmt.Sprint(i))
		}
		i++
	}
	if i != n {
		t.Errorf("%d entries, want %d", i, n)
	}
}

func checkReadContext(t *testing.T, b stateful.Backend) {
	s, _ := openTask(t, b, clicks)
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Get(done, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v, want %v", err, context.Canceled)
	}
	n := 0
	for _, err := range s.Scan(done, "", "") {
		n++
		wantErr(t, "scan", err, context.Canceled)
	}
	if n != 1 {
		t.Errorf("the scan yielded %d times, want one error", n)
	}
	if _, _, err := b.Open(done, clicks); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, want %v", err, context.Canceled)
	}
	wantGet(t, s, "a", "-") // the failed open fenced nobody
}
