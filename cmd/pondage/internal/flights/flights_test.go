package flights

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	at := time.Date(2001, 1, 1, 10, 5, 0, 0, time.UTC)
	ok := Flight{Scheduled: at, Delay: -3, Distance: 405, Origin: "MCI", Destination: "MDW"}
	for _, tt := range []struct {
		name, raw string
		want      Flight
		fault     string
	}{
		{"a row is read", "2001-01-01T10:05:00Z,-3,405,MCI,MDW", ok, ""},
		{"a time with an offset becomes UTC", "2001-01-01T12:05:00+02:00,-3,405,MCI,MDW", ok, ""},
		{"fields may be quoted", `"2001-01-01T10:05:00Z",-3,"405","MCI","MDW"`, ok, ""},
		{"a missing field is a fault", "2001-01-01T10:05:00Z,-3,405,MCI", Flight{}, "4 fields"},
		{"one field too many is a fault", "2001-01-01T10:05:00Z,-3,405,MCI,MDW,", Flight{}, "6 fields"},
		{"a delay in words is a fault", "2001-01-01T10:05:00Z,late,405,MCI,MDW", Flight{}, `delay_minutes: "late" is not a whole number`},
		{"an empty delay is a fault", "2001-01-01T10:05:00Z,,405,MCI,MDW", Flight{}, `delay_minutes: "" is not`},
		{"a delay beyond 32 bits is a fault", "2001-01-01T10:05:00Z,3000000000,405,MCI,MDW", Flight{}, "delay_minutes: 3000000000 is out of range"},
		{"a negative distance is a fault", "2001-01-01T10:05:00Z,1,-1,MCI,MDW", Flight{}, "distance_miles: -1 is negative"},
		{"a distance with a fraction is a fault", "2001-01-01T10:05:00Z,1,1.5,MCI,MDW", Flight{}, "distance_miles"},
		{"a date without time is a fault", "2001-01-01,1,405,MCI,MDW", Flight{}, "scheduled: "},
		{"a day that does not exist is a fault", "2001-02-30T10:05:00Z,1,405,MCI,MDW", Flight{}, "scheduled: "},
		{"a date before 1990 is a fault", "1989-12-31T23:59:59Z,1,405,MCI,MDW", Flight{}, "outside the years 1990 to 2099"},
		{"a date after 2099 is a fault", "2100-01-01T00:00:00Z,1,405,MCI,MDW", Flight{}, "outside the years 1990 to 2099"},
		{"an empty airport is a fault", "2001-01-01T10:05:00Z,1,405,,MDW", Flight{}, `origin: "" is not`},
		{"an endless airport is a fault", "2001-01-01T10:05:00Z,1,405,MCI,ABCDEFGHI", Flight{}, "destination: "},
		{"an airport in other than ASCII is a fault", "2001-01-01T10:05:00Z,1,405,M\xffI,MDW", Flight{}, "origin: "},
		{"an empty row is a fault", "", Flight{}, "1 fields"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.raw))
			if got != tt.want {
				t.Errorf("flight %+v, want %+v", got, tt.want)
			}
			if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("fault %v, want %q", err, tt.fault)
			}
		})
	}
}

func TestWeek(t *testing.T) {
	d, err := Week()
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	to := from.AddDate(0, 0, 7)
	rows, behind := 0, 0
	var last, newest time.Time
	for {
		row, err := d.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows++
		f := row.Flight
		if f.Scheduled.Before(from) || !f.Scheduled.Before(to) {
			t.Fatalf("line %d: scheduled %s, outside the week", row.Line, f.Scheduled)
		}
		arrival := f.Scheduled.Add(time.Duration(f.Delay) * time.Minute)
		if arrival.Before(last) {
			t.Fatalf("line %d: arrived %s, before %s", row.Line, arrival, last)
		}
		last = arrival
		if f.Scheduled.Before(newest) {
			behind++
		} else {
			newest = f.Scheduled
		}
	}
	if rows != WeekRows {
		t.Errorf("%d rows, want %d", rows, WeekRows)
	}
	if share := float64(behind) / float64(rows); share < 0.9 {
		t.Errorf("%.1f %% of the rows arrive behind a later one, want most of them", 100*share)
	}
}
