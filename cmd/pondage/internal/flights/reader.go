package flights

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrHeader is returned by [NewReader] when the input does not begin with
// [Header]. Nothing of it was read as a row.
var ErrHeader = errors.New("wrong header")

const (
	// maxLineBytes is the longest line that is looked at.
	maxLineBytes = 1 << 20
	// keptBytes is how much of a longer one is kept, to show what it was.
	keptBytes = 4 << 10
	// maxWindowBytes bounds the memory that a zstd file can ask for; it is the
	// limit of the zstd command too.
	maxWindowBytes = 128 << 20
)

// RowError says what is wrong with one row. The rows after it can be read.
type RowError struct {
	File string
	Line int // the header's is 1
	Err  error
}

func (e *RowError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the fault without its place.
func (e *RowError) Unwrap() error { return e.Err }

// Row is one line of the input.
type Row struct {
	Line   int    // the header's is 1
	Raw    []byte // the line without its end; overwritten by the next Read
	Flight Flight // zero when the row is broken
}

// Reader reads flights. It must not be used by several goroutines.
type Reader struct {
	name  string
	in    *bufio.Reader
	line  int
	codes codes
	err   error // how the input ended
}

// NewReader returns a reader of r, which is plain CSV or that compressed by gzip
// or zstd: the first bytes tell, not the name. name stands in errors only.
// Lines may end with CRLF, and a byte order mark is skipped. It reads the header; when
// that is another, the error is [ErrHeader]. r is the caller's to close.
func NewReader(name string, r io.Reader) (*Reader, error) {
	d := &Reader{name: name, codes: codes{}}
	plain, err := decompress(r)
	if err != nil {
		return nil, d.broken(err)
	}
	d.in = bufio.NewReaderSize(plain, maxLineBytes)
	first, err := d.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: %w: the input is empty; its first line must be %s", name, ErrHeader, Header)
	case errors.Is(err, errTooLong):
	case err != nil:
		return nil, err
	}
	if got := bytes.ReplaceAll(bytes.TrimPrefix(first, bom), quote, nil); string(got) != Header {
		return nil, fmt.Errorf("%s: %w: %.80q; the first line must be %s", name, ErrHeader, first, Header)
	}
	return d, nil
}

var (
	bom   = []byte("\ufeff")
	quote = []byte(`"`)
)

// Read returns the next row. A broken one comes with a [*RowError]; the caller
// may go on. At the end the error is [io.EOF]. Any other error is the input's
// and final; it wraps [io.ErrUnexpectedEOF] when the input was cut off, and a line cut with
// it is not a row. Empty lines are skipped.
func (d *Reader) Read() (Row, error) {
	for {
		raw, err := d.next()
		if err != nil && !errors.Is(err, errTooLong) {
			return Row{}, err
		}
		if len(raw) == 0 {
			continue
		}
		row := Row{Line: d.line, Raw: raw}
		if err == nil {
			err = d.codes.parse(raw, &row.Flight)
		}
		if err != nil {
			err = &RowError{File: d.name, Line: d.line, Err: err}
		}
		return row, err
	}
}

var errTooLong = fmt.Errorf("the line is longer than %d bytes", maxLineBytes)

// next returns a line without its end. With errTooLong comes the line's
// beginning; any other error is final.
func (d *Reader) next() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	line, err := d.in.ReadSlice('\n')
	d.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = d.skipLong(line)
		if err == nil {
			return line, errTooLong
		}
	}
	if errors.Is(err, io.EOF) {
		d.err = io.EOF
		if len(line) == 0 {
			return nil, io.EOF
		}
	} else if err != nil {
		d.err = d.broken(err)
		return nil, d.err
	}
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// skipLong reads to the end of a line of which begin has been read.
func (d *Reader) skipLong(begin []byte) ([]byte, error) {
	kept := bytes.Clone(begin[:keptBytes])
	for {
		_, err := d.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF): // the next call says so again
			return kept, nil
		default:
			return kept, err
		}
	}
}

// broken says at which line the input itself failed.
func (d *Reader) broken(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s:%d: the input is cut off: %w", d.name, d.line, err)
	}
	return fmt.Errorf("%s:%d: read: %w", d.name, d.line, err)
}

// decompress looks at the first bytes of r.
func decompress(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	// Fewer bytes than asked for, or an error, show again at the first read.
	magic, _ := in.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return z, err
	case isZstd(magic):
		// Concurrency 1 decodes in the caller's goroutine, so there is nothing to close.
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes))
	}
	return in, nil
}

// isZstd knows a frame and a skippable frame, with which some writers begin.
func isZstd(magic []byte) bool {
	return len(magic) == 4 && magic[3] == 0xfd && magic[2] == 0x2f && magic[1] == 0xb5 && magic[0] == 0x28 ||
		len(magic) == 4 && magic[3] == 0x18 && magic[2] == 0x4d && magic[1] == 0x2a && magic[0]>>4 == 5
}
