// Package flights is the demo's input: rows of US flights as CSV, and one week of
// them built in. README.md beside it names source and licence.
package flights

import (
	"bytes"
	_ "embed" // for the week
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Header is the first line of every input.
const Header = "scheduled,delay_minutes,distance_miles,origin,destination"

// WeekName is the name of the built-in week, as messages about it show it.
const WeekName = "flights of 2001-01-01 to 2001-01-07"

// WeekRows is the number of rows in the built-in week.
const WeekRows = 113_493

//go:embed week.csv.zst
var week []byte

// Week returns a reader of the built-in week: every flight scheduled from
// 2001-01-01 to 2001-01-07, in order of scheduled + delay.
func Week() (*Reader, error) { return NewReader(WeekName, bytes.NewReader(week)) }

// Flight is one row.
type Flight struct {
	Scheduled   time.Time // UTC
	Delay       int       // minutes, negative when early
	Distance    int       // miles
	Origin      string    // airport code
	Destination string    // airport code
}

// What a row may hold. A date outside is a fault of the input: taken as it is, one far in
// the future would close every window.
var (
	firstDate = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	endDate   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

const (
	maxCodeBytes = 8
	maxCodes     = 64 << 10
	columns      = 5
)

// Parse reads one row without its line end. The result shares no memory with raw.
func Parse(raw []byte) (Flight, error) {
	var f Flight
	err := codes(nil).parse(raw, &f)
	return f, err
}

// codes are the airport codes seen so far, so that a row costs no allocation. A
// nil one keeps none.
type codes map[string]string

func (c codes) parse(raw []byte, f *Flight) error {
	var fields [columns][]byte
	if err := split(raw, &fields); err != nil {
		return err
	}
	at, err := parseTime(fields[0])
	if err != nil {
		return err
	}
	delay, err := parseInt("delay_minutes", fields[1])
	if err != nil {
		return err
	}
	distance, err := parseInt("distance_miles", fields[2])
	if err != nil {
		return err
	}
	if distance < 0 {
		return fmt.Errorf("distance_miles: %d is negative", distance)
	}
	origin, err := c.code("origin", fields[3])
	if err != nil {
		return err
	}
	destination, err := c.code("destination", fields[4])
	if err != nil {
		return err
	}
	*f = Flight{Scheduled: at, Delay: delay, Distance: distance, Origin: origin, Destination: destination}
	return nil
}

// split cuts a row at its commas. A field may stand in quotes; none needs them.
func split(raw []byte, fields *[columns][]byte) error {
	if n := bytes.Count(raw, comma) + 1; n != columns {
		return fmt.Errorf("%d fields, want the %d of %s", n, columns, Header)
	}
	for i := range fields {
		field, rest, _ := bytes.Cut(raw, comma)
		if n := len(field); n >= 2 && field[0] == '"' && field[n-1] == '"' {
			field = field[1 : n-1]
		}
		fields[i], raw = field, rest
	}
	return nil
}

var comma = []byte{','}

func parseTime(b []byte) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText(b); err != nil {
		return t, fmt.Errorf("scheduled: %q is not a time like 2001-01-01T10:05:00Z", b)
	}
	t = t.UTC()
	if t.Before(firstDate) || !t.Before(endDate) {
		return t, fmt.Errorf("scheduled: %s is outside the years %d to %d", b, firstDate.Year(), endDate.Year()-1)
	}
	return t, nil
}

// parseInt takes what fits into 32 bits: sums over a window of them do not overflow.
func parseInt(column string, b []byte) (int, error) {
	n, err := strconv.ParseInt(string(b), 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s: %s is out of range", column, b)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a whole number", column, b)
	}
	return int(n), nil
}

func (c codes) code(column string, b []byte) (string, error) {
	if s, ok := c[string(b)]; ok {
		return s, nil
	}
	if len(b) == 0 || len(b) > maxCodeBytes {
		return "", fmt.Errorf("%s: %q is not an airport code of 1 to %d characters", column, b, maxCodeBytes)
	}
	for _, x := range b {
		if x <= ' ' || x == '"' || x > '~' {
			return "", fmt.Errorf("%s: %q is not an airport code: only printable ASCII", column, b)
		}
	}
	s := string(b)
	if c != nil && len(c) < maxCodes {
		c[s] = s
	}
	return s, nil
}
