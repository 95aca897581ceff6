package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryRowRunsAndCountsWhatWasSent(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			o, err := parse([]string{"-short", "-dir", t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			o.pool = 10_000
			e := newEnv(o, t.Output())
			defer e.close()
			if err := r.measure(e); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPoolGivesEachEventOnceInOrder(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprintf("json=%v", asJSON), func(t *testing.T) {
			p, err := newPool(10_000, 100, asJSON)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.free(); err != nil {
					t.Error(err)
				}
			}()
			decode := decodeBinary
			if asJSON {
				decode = decodeJSON
			}
			if got := p.exact(20_000); got != 20_000 {
				t.Errorf("two rounds are %d events", got)
			}
			for part := range partitions {
				last, n := int64(math.MinInt64), p.share(part, 20_000)
				recs := p.fill(nil, part, 0, int(n))
				var e event
				// The second half of the memory is that of the first: only it is up to date.
				for i := n / 2; i < n; i++ {
					e = event{}
					if err := decode(recs[i].Value, &e); err != nil {
						t.Fatal(err)
					}
					if e.At != recs[i].Time || e.User != string(recs[i].Key) || e.At < last || e.Amount == 0 || recs[i].Offset != i {
						t.Fatalf("event %d of partition %d is %+v, its record's key %q, time %d, offset %d, the last time %d",
							i, part, e, recs[i].Key, recs[i].Time, recs[i].Offset, last)
					}
					last = e.At
				}
				if first := recs[n/2].Time; first < epoch+p.span {
					t.Errorf("the second round of partition %d begins at %d, inside the first", part, first)
				}
			}
		})
	}
}

func TestHandWrittenCountIsATumblingCount(t *testing.T) {
	var got []string
	c := newCounter(10*time.Millisecond, func(b []byte) { got = append(got, string(b)) })
	for _, e := range []event{{At: 3, User: "a"}, {At: 9, User: "a"}, {At: 10, User: "b"}, {At: 9, User: "a"}, {At: 31, User: "a"}} {
		c.add(&e)
	}
	c.advance(math.MaxInt64)
	want := []string{`"a",0,2`, `"b",10,1`, `"a",30,1`}
	if len(got) != len(want) || c.late != 1 {
		t.Fatalf("got %q and %d late", got, c.late)
	}
	for i, w := range want {
		f := strings.Split(w, ",")
		if !strings.Contains(got[i], `"key":`+f[0]) || !strings.Contains(got[i], "/"+f[1]+"/") || !strings.Contains(got[i], `"value":`+f[2]+",") {
			t.Errorf("result %d is %s, want %s", i, got[i], w)
		}
	}
}

func TestTallyNotices(t *testing.T) {
	for _, tt := range []struct {
		name    string
		results []string
		late    int
		ok      bool
	}{
		{"all counted", []string{`{"value":2}`, `{"value":3,"x":1}`}, 0, true},
		{"one lost", []string{`{"value":4}`}, 0, false},
		{"one twice", []string{`{"value":6}`}, 0, false},
		{"one late", []string{`{"value":4}`}, 1, false},
		{"one unreadable", []string{`{"value":5}`, `{}`}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTally(5)
			for _, r := range tt.results {
				a.add([]byte(r))
			}
			a.dropped(tt.late)
			if err := a.check(); (err == nil) != tt.ok {
				t.Errorf("check: %v", err)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		vals []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		in := slices.Clone(tt.vals)
		if got := median(in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.vals, got, tt.want)
		}
	}
}
