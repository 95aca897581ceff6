package main_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// aFlight is a row of the input, as the plainest program reads it.
type aFlight struct {
	origin    string
	at        int64 // s
	delay     int   // minutes
	partition int
}

func flightsOf(t *testing.T, csv []byte, partitions int) (all []aFlight) {
	t.Helper()
	for i, row := range bytes.Split(bytes.TrimSpace(csv), []byte{'\n'}) {
		if i == 0 {
			continue
		}
		f := strings.Split(string(row), ",")
		at, err := time.Parse(time.RFC3339, f[0])
		if err != nil {
			t.Fatal(err)
		}
		delay, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, aFlight{f[3], at.Unix(), delay, int(murmur2(f[3])&0x7fffffff) % partitions})
	}
	return all
}

// cut is one window of one origin.
type cut struct {
	origin      string
	start, end  int64 // s
	n, sum, max int
}

func (c *cut) add(f aFlight) {
	if c.n == 0 || f.delay > c.max {
		c.max = f.delay
	}
	c.n++
	c.sum += f.delay
}

// linesOf are the lines of cuts, in order.
func linesOf(cuts []*cut) (want []line) {
	for _, c := range cuts {
		mean, _ := strconv.ParseFloat(fmt.Sprintf("%.2f", float64(c.sum)/float64(c.n)), 64)
		want = append(want, line{
			Origin: c.origin, Start: time.Unix(c.start, 0).UTC(), End: time.Unix(c.end, 0).UTC(), Flights: c.n,
			Mean: json.Number(strconv.FormatFloat(mean+0, 'f', -1, 64)), Max: c.max,
		})
	}
	slices.SortFunc(want, func(a, b line) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Origin, b.Origin)) })
	return want
}

// expectedSliding computes the results of three hours from every hour on.
func expectedSliding(t *testing.T, csv []byte, partitions int, maxDelay time.Duration) (want []line, late int) {
	t.Helper()
	const hour = 3600
	var cuts []*cut
	find := make(map[string]*cut)
	latest := make([]int64, partitions)
	for _, f := range flightsOf(t, csv, partitions) {
		taken := false
		for start := f.at/hour*hour - 2*hour; start <= f.at; start += hour {
			if start+3*hour <= latest[f.partition]-int64(maxDelay/time.Second) {
				continue // it is over
			}
			taken = true
			key := fmt.Sprint(f.origin, start)
			if find[key] == nil {
				find[key] = &cut{origin: f.origin, start: start, end: start + 3*hour}
				cuts = append(cuts, find[key])
			}
			find[key].add(f)
		}
		if !taken {
			late++
		}
		latest[f.partition] = max(latest[f.partition], f.at)
	}
	return linesOf(cuts), late
}

// expectedSessions computes the runs of delays of more than an hour, with pauses of half an hour at most.
func expectedSessions(t *testing.T, csv []byte, partitions int, maxDelay time.Duration) (want []line, late int) {
	t.Helper()
	const gap = 1800
	var over []*cut
	open := make(map[string][]*cut)
	latest := make([]int64, partitions)
	for _, f := range flightsOf(t, csv, partitions) {
		if f.delay > 60 {
			closed := latest[f.partition] - int64(maxDelay/time.Second)
			joined := &cut{origin: f.origin, start: f.at, end: f.at + gap}
			// An event may join two sessions, but it joins none that does not meet its own half hour.
			var rest []*cut
			var met []*cut
			for _, c := range open[f.origin] {
				switch {
				case c.end <= closed:
					over = append(over, c)
				case c.start <= f.at+gap && f.at <= c.end:
					met = append(met, c)
				default:
					rest = append(rest, c)
				}
			}
			for _, c := range met {
				if joined.n == 0 || c.max > joined.max {
					joined.max = c.max
				}
				joined.start, joined.end = min(joined.start, c.start), max(joined.end, c.end)
				joined.n, joined.sum = joined.n+c.n, joined.sum+c.sum
			}
			if joined.end <= closed {
				late++
			} else {
				joined.add(f)
				rest = append(rest, joined)
			}
			open[f.origin] = rest
		}
		latest[f.partition] = max(latest[f.partition], f.at)
	}
	for _, rest := range open {
		over = append(over, rest...)
	}
	return linesOf(over), late
}

// checkViews compares what a finished folder shows of the views beside the first.
func checkViews(t *testing.T, dir string, csv []byte, partitions int, maxDelay time.Duration, more ...string) {
	t.Helper()
	args := append([]string{"--data-dir", dir, "--output", "json", "--partitions", strconv.Itoa(partitions), "--max-delay", maxDelay.String()}, more...)
	sliding, late := expectedSliding(t, csv, partitions, maxDelay)
	r := demo(t, append(args, "--show", "sliding")...).ok(t)
	compare(t, r.stdout, sliding)
	r.is(t, 0, fmt.Sprintf(", late %s, dead-lettered 0;", thousands(late)), "each window once")
	sessions, late := expectedSessions(t, csv, partitions, maxDelay)
	r = demo(t, append(args, "--show", "sessions")...).ok(t)
	compare(t, r.stdout, sessions)
	r.is(t, 0, fmt.Sprintf("= in runs %s + late %s + dead-lettered 0\n", thousands(counted(t, r.stdout)), thousands(late)), "each window once")
}

// What checkViews compares with is worth it: some sessions are long, and some flights late.
func TestTheOtherViewsShowSomething(t *testing.T) {
	sessions, late := expectedSessions(t, week(), 4, 2*time.Hour)
	if late == 0 || !slices.ContainsFunc(sessions, func(l line) bool { return l.Flights > 50 && l.End.Sub(l.Start) > 5*time.Hour }) {
		t.Error("the test shows too little")
	}
}

func TestTablesOfTheOtherViews(t *testing.T) {
	dir := folder(t)
	for show, want := range map[string][]string{
		"sliding":  {"The worst three hours", "from (UTC)", "read 113,493, late 180", "delivery: exactly once"},
		"sessions": {"The longest runs of departures more than 60 minutes late", "2001-01-03 12:36 to 2001-01-03 23:57", "of 113,493 read"},
	} {
		r := demo(t, "--data-dir", dir, "--show", show).ok(t)
		for _, w := range want {
			if !strings.Contains(r.stdout, w) {
				t.Errorf("the table of %s lacks %q:\n%s", show, w, r.stdout)
			}
		}
	}
}

// A folder of before the other views were there gets them.
func TestAFolderOfTheFirstVersionGoesOn(t *testing.T) {
	dir := folder(t)
	demo(t, "--data-dir", dir, "--output", "json").ok(t)
	name := dir + "/demo.json"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	was := bytes.Replace(b, []byte(`"version": 2`), []byte(`"version": 1`), 1)
	if bytes.Equal(was, b) {
		t.Fatalf("the test is wrong: %s", b)
	}
	if err := os.WriteFile(name, was, 0o666); err != nil {
		t.Fatal(err)
	}
	want, _ := expected(t, week(), 4, 2*time.Hour)
	r := demo(t, "--data-dir", dir, "--output", "json").ok(t).is(t, 0, "going on where it was")
	compare(t, r.stdout, want)
	checkViews(t, dir, week(), 4, 2*time.Hour)
}
