package main_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// week returns the built-in input as plain CSV.
var week = sync.OnceValue(func() []byte {
	f, err := os.Open("internal/flights/week.csv.zst")
	if err != nil {
		panic(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		panic(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		panic(err)
	}
	return b
})

// line is an object of the output.
type line struct {
	Origin  string      `json:"origin"`
	Start   time.Time   `json:"start"`
	End     time.Time   `json:"end"`
	Flights int         `json:"flights"`
	Mean    json.Number `json:"mean_delay_minutes"`
	Max     int         `json:"max_delay_minutes"`
}

func lines(t *testing.T, out string) (all []line) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	for d.More() {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	if n := strings.Count(out, "\n"); n != len(all) {
		t.Errorf("%d lines and %d objects", n, len(all))
	}
	return all
}

// expected computes the results of an input anew: with nothing of Pondage, from what the
// flags mean.
func expected(t *testing.T, csv []byte, partitions int, maxDelay time.Duration) (want []line, late int) {
	t.Helper()
	type key struct {
		origin string
		start  int64 // s
	}
	type hour struct{ n, sum, max int }
	hours := make(map[key]hour)
	latest := make([]int64, partitions) // s; scheduled times are all after 1970
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
		p := int(murmur2(f[3])&0x7fffffff) % partitions
		start := at.Unix() / 3600 * 3600
		// The hour is over once a flight was seen that is maxDelay after its end.
		if start+3600 <= latest[p]-int64(maxDelay/time.Second) {
			late++
			continue
		}
		latest[p] = max(latest[p], at.Unix())
		h, seen := hours[key{f[3], start}]
		if !seen {
			h.max = delay
		}
		h.n, h.sum, h.max = h.n+1, h.sum+delay, max(h.max, delay)
		hours[key{f[3], start}] = h
	}
	for k, h := range hours {
		mean, _ := strconv.ParseFloat(fmt.Sprintf("%.2f", float64(h.sum)/float64(h.n)), 64)
		start := time.Unix(k.start, 0).UTC()
		want = append(want, line{
			Origin: k.origin, Start: start, End: start.Add(time.Hour), Flights: h.n,
			Mean: json.Number(strconv.FormatFloat(mean+0, 'f', -1, 64)), Max: h.max,
		})
	}
	slices.SortFunc(want, func(a, b line) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Origin, b.Origin)) })
	return want, late
}

// murmur2 is the hash of Kafka's default partitioner, written from its description.
func murmur2(s string) uint32 {
	const m = 0x5bd1e995
	h := 0x9747b28c ^ uint32(len(s))
	for ; len(s) >= 4; s = s[4:] {
		k := (uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24) * m
		h = h*m ^ (k^k>>24)*m
	}
	for i := len(s) - 1; i >= 0; i-- {
		h ^= uint32(s[i]) << (8 * i)
		if i == 0 {
			h *= m
		}
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// compare requires that out is exactly want, in its order.
func compare(t *testing.T, out string, want []line) {
	t.Helper()
	got := lines(t, out)
	equal := func(a, b line) bool {
		return a.Origin == b.Origin && a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.Flights == b.Flights && a.Mean == b.Mean && a.Max == b.Max
	}
	for i := range min(len(got), len(want)) {
		if !equal(got[i], want[i]) {
			t.Fatalf("result %d is\n%+v\nwant\n%+v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d results, want %d", len(got), len(want))
	}
}

// counted sums up the flights in an output.
func counted(t *testing.T, out string) (n int) {
	t.Helper()
	for _, l := range lines(t, out) {
		n += l.Flights
	}
	return n
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// the line that accounts for what was read.
func account(read, counted, late, dead int) string {
	return fmt.Sprintf("read %s = counted %s + late %s + dead-lettered %s\n", thousands(read), thousands(counted), thousands(late), thousands(dead))
}

// rows is an input of these lines.
func rows(more ...string) []byte {
	return []byte("scheduled,delay_minutes,distance_miles,origin,destination\n" + strings.Join(more, "\n") + "\n")
}
