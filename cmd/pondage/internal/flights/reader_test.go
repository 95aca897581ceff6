package flights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	head = Header + "\n"
	row1 = "2001-01-01T00:01:00Z,33,2176,LAS,PHL"
	row2 = "2001-01-01T00:01:00Z,19,215,ATL,SAV"
)

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

func zstandard(s string) string {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

// read returns one line per row, and how the input ended.
func read(r io.Reader) (lines []string, end error) {
	d, err := NewReader("in.csv", r)
	if err != nil {
		return nil, err
	}
	for {
		row, err := d.Read()
		var broken *RowError
		switch {
		case errors.As(err, &broken):
			lines = append(lines, fmt.Sprintf("broken %s:%d %.40s", broken.File, broken.Line, row.Raw))
		case err != nil:
			return lines, err
		default:
			lines = append(lines, fmt.Sprintf("%d %s %s", row.Line, row.Flight.Origin, row.Raw))
		}
	}
}

func TestReader(t *testing.T) {
	both := []string{"2 LAS " + row1, "3 ATL " + row2}
	long := strings.Repeat("x", 3*maxLineBytes)
	for _, tt := range []struct {
		name, in string
		want     []string
		end      error
	}{
		{"plain rows are read", head + row1 + "\n" + row2 + "\n", both, io.EOF},
		{"the last line needs no end", head + row1 + "\n" + row2, both, io.EOF},
		{"gzip is known by its bytes", gzipped(head + row1 + "\n" + row2 + "\n"), both, io.EOF},
		{"gzip may have several members", gzipped(head+row1+"\n") + gzipped(row2), both, io.EOF},
		{"zstd is known by its bytes", zstandard(head + row1 + "\n" + row2 + "\n"), both, io.EOF},
		{"zstd may have several frames", zstandard(head+row1+"\n") + zstandard(row2), both, io.EOF},
		{"zstd may begin with a skippable frame", "\x50\x2a\x4d\x18\x01\x00\x00\x00x" + zstandard(head+row1+"\n"+row2), both, io.EOF},
		{"CRLF ends a line", Header + "\r\n" + row1 + "\r\n" + row2 + "\r\n", both, io.EOF},
		{"a byte order mark is skipped", "\ufeff" + head + row1 + "\n" + row2 + "\n", both, io.EOF},
		{"a byte order mark is skipped in gzip", gzipped("\ufeff" + head + row1 + "\n" + row2), both, io.EOF},
		{"a quoted header is the same header", `"scheduled","delay_minutes","distance_miles","origin","destination"` + "\n" + row1, both[:1], io.EOF},
		{"header only is no row and no fault", head, nil, io.EOF},
		{"a header without a line end is a header", Header, nil, io.EOF},
		{"empty lines are skipped but counted", head + "\n\r\n" + row1 + "\n\n", []string{"4 LAS " + row1}, io.EOF},
		{"a broken row does not stop the rest", head + "what,is,this\n" + row2 + "\n", []string{"broken in.csv:2 what,is,this", both[1]}, io.EOF},
		{"an endless line does not stop the rest", head + long + "\n" + row2 + "\n", []string{"broken in.csv:2 " + long[:40], both[1]}, io.EOF},
		{"an endless last line is a broken row", head + long, []string{"broken in.csv:2 " + long[:40]}, io.EOF},
		{"another header is refused", "date,delay\n" + row1 + "\n", nil, ErrHeader},
		{"rows without a header are refused", row1 + "\n", nil, ErrHeader},
		{"an empty input has no header", "", nil, ErrHeader},
		{"an endless header is refused", long, nil, ErrHeader},
		{"another header in gzip is refused", gzipped("date,delay\n"), nil, ErrHeader},
		{"gzip without a byte of data is cut off", "\x1f\x8b", nil, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ins := []io.Reader{strings.NewReader(tt.in)}
			if len(tt.in) < 1<<10 {
				ins = append(ins, iotest.OneByteReader(strings.NewReader(tt.in)))
			}
			for _, in := range ins {
				got, end := read(in)
				if !slices.Equal(got, tt.want) {
					t.Errorf("rows\n%q\nwant\n%q", got, tt.want)
				}
				if !errors.Is(end, tt.end) {
					t.Errorf("ended with %v, want %v", end, tt.end)
				}
			}
		})
	}
}

// Wherever a compressed file is cut, what is read is a beginning of the rows,
// each whole, and the end says that it was cut.
func TestCutOff(t *testing.T) {
	var rows strings.Builder
	var want []string
	for i := range 20_000 {
		row := fmt.Sprintf("2001-01-01T00:01:00Z,%d,%d,AA%d,BB%d", i, i*7919%5000, i%97, i%89)
		rows.WriteString(row + "\n")
		want = append(want, fmt.Sprintf("%d AA%d %s", i+2, i%97, row))
	}
	for _, tt := range []struct{ name, whole string }{
		{"gzip", gzipped(head + rows.String())},
		{"zstd", zstandard(head + rows.String())},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{4, 10, 20, len(tt.whole) / 2, len(tt.whole) * 3 / 4, len(tt.whole) - 5, len(tt.whole) - 1} {
				got, end := read(strings.NewReader(tt.whole[:n]))
				if !errors.Is(end, io.ErrUnexpectedEOF) {
					t.Errorf("cut at %d: ended with %v", n, end)
				}
				if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
					t.Errorf("cut at %d: the %d rows read are not the first ones", n, len(got))
				}
				if n > len(tt.whole)/2 && len(got) == 0 {
					t.Errorf("cut at %d: no row was read", n)
				}
			}
		})
	}
}

func TestBrokenInput(t *testing.T) {
	t.Run("a flipped byte in gzip ends the input", func(t *testing.T) {
		in := []byte(gzipped(head + row1 + "\n"))
		in[len(in)-6] ^= 1 // in the checksum
		if _, end := read(bytes.NewReader(in)); !errors.Is(end, gzip.ErrChecksum) {
			t.Errorf("ended with %v", end)
		}
	})
	t.Run("an error of the reader ends the input and is repeated", func(t *testing.T) {
		gone := errors.New("disk on fire")
		d, err := NewReader("in.csv", io.MultiReader(strings.NewReader(head+row1+"\n2001"), iotest.ErrReader(gone)))
		if err != nil {
			t.Fatal(err)
		}
		if row, err := d.Read(); err != nil || row.Line != 2 {
			t.Errorf("first row %v, %v", row, err)
		}
		for range 2 {
			if row, err := d.Read(); !errors.Is(err, gone) || row.Raw != nil || !strings.HasPrefix(err.Error(), "in.csv:3:") {
				t.Errorf("row %q, %v", row.Raw, err)
			}
		}
	})
}

// Any input ends, with lines that count up and rows that read the same alone.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		head + row1, "\ufeff" + Header + "\r\n" + row1 + "\r\n", head + "x\n" + row2,
		gzipped(head + row1), zstandard(head + row1), gzipped(head + row1)[:30], "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := NewReader("in", bytes.NewReader(in))
		if err != nil {
			return
		}
		for last := 1; ; {
			row, err := d.Read()
			var broken *RowError
			if err != nil && !errors.As(err, &broken) {
				return
			}
			if row.Line <= last || len(row.Raw) == 0 {
				t.Fatalf("line %d after %d: %q", row.Line, last, row.Raw)
			}
			last = row.Line
			alone, aloneErr := Parse(row.Raw)
			if alone != row.Flight || (aloneErr == nil) != (err == nil) {
				t.Fatalf("%q: %v, %v; alone %v, %v", row.Raw, row.Flight, err, alone, aloneErr)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	rows := 0
	b.ReportAllocs()
	for b.Loop() {
		d, err := Week()
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := d.Read(); err != nil {
				break
			}
			rows++
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
