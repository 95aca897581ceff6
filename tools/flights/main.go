// Command flights makes the demo's data: one week of flights out of the npm
// package vega-datasets, as compressed CSV in order of arrival. The README beside the data says
// how to run it.
package main

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

const header = "scheduled,delay_minutes,distance_miles,origin,destination\n"

// flight is a row of flights-3m.parquet. Its date is local to nothing: the file
// has no zone, and it is taken as UTC.
type flight struct {
	Date        int64  `parquet:"date,optional"` // microseconds since 1970
	Delay       int64  `parquet:"delay,optional"`
	Distance    int64  `parquet:"distance,optional"`
	Origin      string `parquet:"origin,optional"`
	Destination string `parquet:"destination,optional"`
}

func (f flight) arrival() int64 { return f.Date + f.Delay*time.Minute.Microseconds() }

func main() {
	log.SetFlags(0)
	log.SetPrefix("flights: ")
	in := flag.String("in", "flights-3m.parquet", "the file of vega-datasets")
	out := flag.String("out", "week.csv.zst", "the file to write")
	from := flag.String("from", "2001-01-01", "first day")
	days := flag.Int("days", 7, "number of days")
	flag.Parse()
	if err := run(*in, *out, *from, *days); err != nil {
		log.Fatal(err)
	}
}

func run(in, out, from string, days int) error {
	start, err := time.Parse(time.DateOnly, from)
	if err != nil {
		return fmt.Errorf("-from: %w", err)
	}
	rows, err := read(in, start, start.AddDate(0, 0, days))
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(a, b flight) int { return cmp.Compare(a.arrival(), b.arrival()) })
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f, rows), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	log.Printf("%s: %d rows", out, len(rows))
	return nil
}

// read returns the rows scheduled in [start, end), in the file's order.
func read(name string, start, end time.Time) ([]flight, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := parquet.NewGenericReader[flight](f)
	defer r.Close()
	var rows []flight
	for buf := make([]flight, 4096); ; {
		n, err := r.Read(buf)
		for _, row := range buf[:n] {
			if row.Date >= start.UnixMicro() && row.Date < end.UnixMicro() {
				rows = append(rows, row)
			}
		}
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
}

// write compresses the rows. It is byte for byte the same on every run.
func write(w io.Writer, rows []flight) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	b := bufio.NewWriter(z)
	b.WriteString(header)
	var line []byte
	for _, r := range rows {
		line = time.UnixMicro(r.Date).UTC().AppendFormat(line[:0], time.RFC3339)
		line = strconv.AppendInt(append(line, ','), r.Delay, 10)
		line = strconv.AppendInt(append(line, ','), r.Distance, 10)
		line = append(append(line, ','), r.Origin...)
		line = append(append(line, ','), r.Destination...)
		b.Write(append(line, '\n'))
	}
	return errors.Join(b.Flush(), z.Close())
}
