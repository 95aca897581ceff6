package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

// The headers that say where in the input a record comes from.
const (
	headerFile = "file"
	headerLine = "line"
)

const (
	loadBatch = 1024
	// Of a broken row so much is kept; a row may be as long as a record.
	keptRaw    = 4 << 10
	keptReason = 500
)

// loader brings the input into the log. It is a producer whose sequence is the line, so that
// rows appended again after a crash are not there twice.
type loader struct {
	log  *embedded.Log
	in   source
	n    int // partitions
	rows *flights.Reader
	pace *pace
	prod *embedded.Producer
	seen *replay // of a stream that goes on; nil otherwise
	last uint64  // line up to which all is in the log
	line uint64  // the last that was read

	batch []stateful.Row
	mem   []byte
}

// line is one row on its way from the reader.
type line struct {
	row stateful.Row // its Topic is empty while the row is good
	err error        // what ended the input; no row then
}

// load appends all rows that are not there yet, broken ones as dead letters. It returns how many
// rows there are in all, and why the input ended too early if it did.
func (l *loader) load(ctx context.Context) (loaded, error) {
	// The id has the file in it: the sequence is (file, line).
	prod, err := l.log.NewProducer(ctx, "loader/"+l.in.Kind+"/"+l.in.Digest)
	if err != nil {
		return loaded{}, err
	}
	l.prod, l.last = prod, prod.Sequence()
	if l.in.Kind == stream && l.last > 0 {
		l.seen = newReplay(l.log, l.n)
		defer l.seen.close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan line, loadBatch)
	go l.read(ctx, lines)
	var done loaded
	for {
		var first line
		select {
		case first = <-lines:
		case <-ctx.Done():
			return done, context.Cause(ctx)
		}
		n, end, err := l.collect(first, lines)
		done.Rows += int64(n)
		if err == nil {
			err = l.append(ctx)
		}
		if err != nil {
			return done, err
		}
		if end != nil {
			if l.in.Kind == stream && l.line < l.last {
				return done, errShortStream(l.line, l.last)
			}
			if !errors.Is(end, io.EOF) {
				done.Fault = end.Error()
			}
			return done, nil
		}
	}
}

// collect takes what is there without waiting for more, so that a slow stream is not held back.
func (l *loader) collect(next line, lines <-chan line) (n int, end, err error) {
	l.batch, l.mem = l.batch[:0], l.mem[:0]
	limit := l.pace.batch()
	for {
		if next.err != nil {
			return n, next.err, nil
		}
		n++
		l.line = next.row.Seq
		if next.row.Seq > l.last {
			l.batch = append(l.batch, next.row)
		} else if l.seen != nil {
			if err := l.seen.check(&next.row); err != nil {
				return n, nil, err
			}
		}
		if len(l.batch) >= limit {
			return n, nil, nil
		}
		select {
		case next = <-lines:
		default:
			return n, nil, nil
		}
	}
}

func (l *loader) append(ctx context.Context) error {
	if len(l.batch) == 0 {
		return nil
	}
	if err := l.pace.wait(ctx, len(l.batch)); err != nil {
		return err
	}
	return l.prod.AppendRows(ctx, l.batch)
}

// read turns the input into rows until it ends or ctx is done. A stream may keep it waiting
// for longer than the loader lives.
func (l *loader) read(ctx context.Context, lines chan<- line) {
	var mem []byte
	for {
		row, err := l.rows.Read()
		var bad *flights.RowError
		var next line
		switch {
		case err == nil:
			raw := keep(&mem, row.Raw)
			next.row = stateful.Row{
				Seq: uint64(row.Line), Topic: topicFlights, Key: []byte(row.Flight.Origin), Payload: raw,
				Headers: l.place(row.Line), Time: stateful.NoTime,
			}
			if err := l.log.Check(&next.row); err != nil {
				next.row = l.letter(row.Line, raw, err)
			}
		case errors.As(err, &bad):
			next.row = l.letter(row.Line, row.Raw, bad.Err)
		default:
			next.err = err
		}
		select {
		case lines <- next:
		case <-ctx.Done():
			return
		}
		if next.err != nil {
			return
		}
	}
}

func (l *loader) place(n int) []stateful.Header {
	return []stateful.Header{{Key: headerFile, Value: l.in.Name}, {Key: headerLine, Value: strconv.Itoa(n)}}
}

// letter is the dead letter of a row that cannot be used.
func (l *loader) letter(n int, raw []byte, reason error) stateful.Row {
	return stateful.Row{
		Seq: uint64(n), Topic: topicDead, Payload: bytes.Clone(raw[:min(len(raw), keptRaw)]), Time: stateful.NoTime,
		Headers: append(l.place(n), stateful.Header{Key: stateful.DeadLetterReason, Value: cut(reason.Error(), keptReason)}),
	}
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

// keep copies raw into memory that many rows share.
func keep(mem *[]byte, raw []byte) []byte {
	if cap(*mem)-len(*mem) < len(raw) {
		*mem = make([]byte, 0, max(64<<10, len(raw)))
	}
	at := len(*mem)
	*mem = append(*mem, raw...)
	return (*mem)[at:len(*mem):len(*mem)]
}

// pace spreads rows over time.
type pace struct {
	perSecond float64 // 0: as fast as it goes
	start     time.Time
	sent      float64
}

// batch is how many rows may be sent together.
func (p *pace) batch() int {
	if p.perSecond == 0 {
		return loadBatch
	}
	return int(min(max(p.perSecond/20, 1), loadBatch))
}

// wait returns when n more rows may be sent.
func (p *pace) wait(ctx context.Context, n int) error {
	if p.perSecond == 0 {
		return nil
	}
	if p.start.IsZero() {
		p.start = time.Now()
	}
	due := p.start.Add(time.Duration(p.sent / p.perSecond * float64(time.Second)))
	p.sent += float64(n)
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errOtherStream is returned when a stream that goes on does not begin with what was loaded from it.
func errOtherStream(n uint64) error {
	return Refuse(fmt.Errorf("line %d of the input is not what was loaded before: give the same input again, from its beginning, or use another --data-dir", n))
}

// errShortStream is returned when a stream that goes on ends before what was loaded from it.
func errShortStream(line, last uint64) error {
	return Refuse(fmt.Errorf("the input ends at line %d, and line %d of it was loaded before: give the same input again, whole, or use another --data-dir", line, last))
}
