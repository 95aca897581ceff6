package main_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// some is the beginning of the week.
func some() []byte {
	end := 0
	for range 3001 {
		end += bytes.IndexByte(week()[end:], '\n') + 1
	}
	return week()[:end]
}

func TestEveryFormOfTheInputGivesTheSame(t *testing.T) {
	want, _ := expected(t, some(), 4, 2*time.Hour)
	crlf := bytes.ReplaceAll(some(), []byte("\n"), []byte("\r\n"))
	for name, content := range map[string][]byte{
		"plain.csv": some(), "flights.csv.gz": gzipped(t, some()), "flights.csv.zst": zstded(t, some()),
		"crlf.csv": crlf, "bom.csv": append([]byte("\ufeff"), crlf...), "name says nothing": gzipped(t, some()),
		"no end of line": bytes.TrimSpace(some()),
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, demo(t, "--output", "json", "--input", write(t, name, content)).ok(t).stdout, want)
			compare(t, demoFed(t, bytes.NewReader(content), "--output", "json", "--input", "-").ok(t).stdout, want)
		})
	}
}

func TestWhatIsNotAnInputIsRefusedBeforeAnythingIsDone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content string
		want    string
	}{
		{"another header", "a,b,c\n2001-01-01T10:00:00Z,5,100,JFK,LAX\n", "wrong header"},
		{"no header", "2001-01-01T10:00:00Z,5,100,JFK,LAX\n", "wrong header"},
		{"empty", "", "the input is empty"},
		{"other order", "delay_minutes,scheduled,distance_miles,origin,destination\n", "wrong header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t)
			r := demo(t, "--data-dir", dir, "--input", write(t, "in.csv", []byte(tt.content))).is(t, 2, tt.want)
			if r.stdout != "" {
				t.Errorf("it prints %q", r.stdout)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Error("it makes the data folder")
			}
			demoFed(t, strings.NewReader(tt.content), "--input", "-").is(t, 2, tt.want)
			demo(t, "--kill", "2", "--input", write(t, "in.csv", []byte(tt.content))).is(t, 2, tt.want)
		})
	}
	demo(t, "--input", filepath.Join(t.TempDir(), "none.csv")).is(t, 2, "no such file")
	demo(t, "--input", t.TempDir()).is(t, 2, "is a directory")
}

func TestAHeaderAloneIsAnEmptyResult(t *testing.T) {
	r := demo(t, "--output", "json", "--input", write(t, "in.csv", rows()[:len(rows())-1])).ok(t)
	if r.stdout != "" {
		t.Errorf("it prints %q", r.stdout)
	}
	r.is(t, 0, account(0, 0, 0, 0))
	demo(t, "--input", write(t, "in.csv", rows())).ok(t)
}

func TestBrokenRowsAreDeadLetteredWithFileAndLine(t *testing.T) {
	input := write(t, "broken.csv", rows(
		"2001-01-01T10:00:00Z,5,100,JFK,LAX", // line 2
		"not a row",
		"2001-02-30T10:00:00Z,5,100,JFK,LAX",
		"2999-01-01T10:00:00Z,5,100,JFK,LAX",
		"2001-01-01T10:00:00Z,five,100,JFK,LAX",
		"2001-01-01T10:00:00Z,5,99999999999,JFK,LAX",
		"2001-01-01T10:00:00Z,5,100,,LAX",
		strings.Repeat("x", 1<<20-1),
		strings.Repeat("y", 3<<20),
		"2001-01-01T10:00:00."+strings.Repeat("0", 1<<20-37)+"Z,5,100,JFK,LAX", // a flight, but too long for a record
		"2098-01-01T10:00:00Z,95,100,JFK,LAX",                                  // a flight, but of the future
		"2001-01-01T10:59:59Z,8,100,JFK,LAX",
		"",
		"2001-01-01T10:30:00Z,-4,100,JFK,LAX",
	))
	dir := folder(t)
	r := demo(t, "--data-dir", dir, "--output", "json", "--input", input).ok(t)
	const want = `{"origin":"JFK","start":"2001-01-01T10:00:00Z","end":"2001-01-01T11:00:00Z","flights":3,"mean_delay_minutes":3,"max_delay_minutes":8}` + "\n"
	if r.stdout != want {
		t.Errorf("results\n%s\nwant\n%s", r.stdout, want)
	}
	r.is(t, 0, account(13, 3, 0, 10))
	for n, why := range map[string]string{
		"3": "1 fields", "4": "is not a time", "5": "outside the years", "6": "not a whole number", "7": "out of range",
		"8": "not an airport code", "9": "1 fields", "10": "longer than", "11": "too large", "12": "24h",
	} {
		r.is(t, 0, "dead-lettered: "+input+":"+n+": ")
		for l := range strings.Lines(r.stderr) {
			if strings.HasPrefix(l, "dead-lettered: "+input+":"+n+": ") && !strings.Contains(l, why) {
				t.Errorf("line %s should say %q: %s", n, why, l)
			}
		}
	}
	again := demo(t, "--data-dir", dir, "--output", "json", "--input", input).ok(t)
	if again.stdout != r.stdout {
		t.Error("a second look prints something else")
	}
	// Each of the handlers has its own dead letters.
	demo(t, "--data-dir", dir, "--input", input, "--output", "json", "--show", "sliding").ok(t).is(t, 0, "read 13, late 0, dead-lettered 10; the others are in windows, 9 times in all")
	demo(t, "--data-dir", dir, "--input", input, "--output", "json", "--show", "sessions").ok(t).is(t, 0, "60 minutes late: 1 = in runs 0 + late 0 + dead-lettered 1\n")
	// State in memory begins again over the same log: the loader's dead letters stay, the handler's come again.
	memory := demo(t, "--data-dir", dir, "--output", "json", "--input", input, "--backend", "memory").ok(t)
	if memory.stdout != r.stdout {
		t.Error("memory gives another output")
	}
}

func TestOfACutOffInputTheRowsBeforeCount(t *testing.T) {
	for name, whole := range map[string][]byte{"gzip": gzipped(t, some()), "zstd": zstded(t, week())} {
		t.Run(name, func(t *testing.T) {
			cut := whole[:len(whole)/2]
			input := write(t, "cut", cut)
			dir := folder(t)
			r := demo(t, "--data-dir", dir, "--output", "json", "--input", input).is(t, 1, "the input is cut off")
			// What can be read of it, without its last line.
			var plain []byte
			if name == "gzip" {
				z, err := gzip.NewReader(bytes.NewReader(cut))
				if err != nil {
					t.Fatal(err)
				}
				plain, _ = io.ReadAll(z)
			} else {
				z, err := zstd.NewReader(bytes.NewReader(cut))
				if err != nil {
					t.Fatal(err)
				}
				defer z.Close()
				plain, _ = io.ReadAll(z)
			}
			want, _ := expected(t, plain[:bytes.LastIndexByte(plain, '\n')], 4, 2*time.Hour)
			compare(t, r.stdout, want)
			if len(want) == 0 {
				t.Error("the test is too small")
			}
			again := demo(t, "--data-dir", dir, "--output", "json", "--input", input).is(t, 1, "the input is cut off")
			if again.stdout != r.stdout {
				t.Error("a second look prints something else")
			}
		})
	}
}

// slow feeds a pipe in pieces, and keeps it open.
func TestAStreamIsCountedAsItComes(t *testing.T) {
	cmd, stdout, stderr := command(t, "--input", "-", "--output", "json")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := some()
	for len(all) > 0 {
		n := min(len(all), 10_007)
		if _, err := in.Write(all[:n]); err != nil {
			t.Fatal(err)
		}
		all = all[n:]
	}
	in.Close()
	want, _ := expected(t, some(), 4, 2*time.Hour)
	compare(t, ended(t, cmd.Wait(), stdout, stderr).ok(t).stdout, want)
}

// A stream has no digest: what was loaded from it is compared when it comes again.
func TestAStreamGoesOnOnlyWithTheSameRows(t *testing.T) {
	dir := folder(t)
	cmd, stdout, stderr := command(t, "--input", "-", "--data-dir", dir, "--output", "json", "--rate", "4000")
	cmd.Stdin = bytes.NewReader(some())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitFolder(t, dir)
	timer := time.AfterFunc(300*time.Millisecond, func() { cmd.Process.Signal(os.Interrupt) })
	defer timer.Stop()
	ended(t, cmd.Wait(), stdout, stderr).is(t, 130)
	other := bytes.Replace(some(), []byte(",LAX,"), []byte(",LAS,"), 1)
	demoFed(t, bytes.NewReader(other), "--input", "-", "--data-dir", dir).is(t, 2, "not what was loaded before", "another --data-dir")
	for _, lines := range []int{1, 20} { // the header is one
		short := bytes.Join(bytes.SplitAfterN(some(), []byte("\n"), lines+1)[:lines], nil)
		demoFed(t, bytes.NewReader(short), "--input", "-", "--data-dir", dir).is(t, 2, "the input ends at line", "another --data-dir")
	}
	want, _ := expected(t, some(), 4, 2*time.Hour)
	compare(t, demoFed(t, bytes.NewReader(some()), "--input", "-", "--data-dir", dir, "--output", "json").ok(t).stdout, want)
	// And once all is loaded, nothing is read any more.
	compare(t, demo(t, "--input", "-", "--data-dir", dir, "--output", "json").ok(t).stdout, want)
}
