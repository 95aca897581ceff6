package handlers_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/window"
)

// setting is what a window may be set to, in milliseconds.
type setting struct {
	kind                string // tumbling, sliding, global, count
	size, slide, offset int64  // size is also the count
	delay, lateness     int64
	trigger             string // "", update, n, clock, final
	every               int64
	mode                handlers.EmitMode
	merge               bool
}

func (s setting) String() string {
	return fmt.Sprintf("%s %d/%d+%d delay %d lateness %d trigger %s %d %v merge %t",
		s.kind, s.size, s.slide, s.offset, s.delay, s.lateness, s.trigger, s.every, s.mode, s.merge)
}

const ms = time.Millisecond

// handler is the real thing. Its value lists the events in order.
func (s setting) handler() handlers.Window[event, string] {
	w := handlers.Window[event, string]{
		Name: "lists", From: "events", To: "counts", LateTo: "late",
		Key:             func(e event) string { return e.Key },
		Time:            func(e event) time.Time { return time.UnixMilli(e.At) },
		Fold:            func(list string, e event) (string, error) { return list + nameOf(e), nil },
		MaxDelay:        time.Duration(s.delay) * ms,
		AllowedLateness: time.Duration(s.lateness) * ms,
		Emit:            s.mode,
	}
	if s.merge {
		w.Merge = func(a, b string) (string, error) { return a + b, nil }
	}
	size, slide, offset := time.Duration(s.size)*ms, time.Duration(s.slide)*ms, time.Duration(s.offset)*ms
	switch s.kind {
	case "tumbling":
		w.Windows = window.Tumbling(size).Offset(offset)
	case "sliding":
		w.Windows = window.Sliding(size, slide).Offset(offset)
	case "global":
		w.Windows = window.Global()
	case "count":
		w.Windows = window.Count(int(s.size))
	case "session":
		w.Windows = window.Session(size)
	}
	switch s.trigger {
	case "update":
		w.Trigger = handlers.EveryUpdate()
	case "n":
		w.Trigger = handlers.EveryN(int(s.every))
	case "clock":
		w.Trigger = handlers.Every(time.Duration(s.every) * ms)
	case "final":
		w.Trigger = handlers.FinalOnly()
	}
	return w
}

func nameOf(e event) string { return fmt.Sprintf("%v ", e.N) }

// slow says in the plainest way what windows give.
type slow struct {
	setting
	wins     []*slowWindow
	counts   map[string]int64
	wm, high int64
	closed   int64 // windows that end up to it are gone, whatever the lateness
	now      int64
	out      []string
}

type slowWindow struct {
	key        string
	start, end int64 // of numbers, for count
	events     []event
	panes      int
	changed    bool
	n          int64
	clock      int64 // 0: off
	last       string
}

const never, forever = int64(-1) << 40, int64(1) << 40

func newSlow(s setting) *slow {
	return &slow{setting: s, counts: map[string]int64{}, wm: never, high: never, closed: never}
}

func (m *slow) timed() bool { return m.kind == "tumbling" || m.kind == "sliding" }

// windowsOf finds by looking at every start.
func (m *slow) windowsOf(e event) (of [][2]int64) {
	switch m.kind {
	case "global":
		return [][2]int64{{never, forever}}
	case "count":
		n := m.counts[e.Key]
		return [][2]int64{{n - n%m.size, n - n%m.size + m.size}}
	}
	slide := m.slide
	if m.kind == "tumbling" {
		slide = m.size
	}
	for s := e.At - m.size + 1; s <= e.At; s++ {
		if (s-m.offset)%slide == 0 {
			of = append(of, [2]int64{s, s + m.size})
		}
	}
	return of
}

func (m *slow) window(key string, start, end int64) *slowWindow {
	for _, w := range m.wins {
		if w.key == key && w.start == start {
			return w
		}
	}
	w := &slowWindow{key: key, start: start, end: end}
	m.wins = append(m.wins, w)
	return w
}

// gone is the watermark that ends a window.
func (m *slow) gone(end int64) int64 {
	if !m.timed() {
		return forever
	}
	return end - 1 + m.lateness
}

func (m *slow) event(e event) {
	late := true
	for _, of := range m.windowsOf(e) {
		if m.gone(of[1]) <= m.wm || m.timed() && of[1]-1 <= m.closed {
			continue
		}
		late = false
		w := m.window(e.Key, of[0], of[1])
		w.events = append(w.events, e)
		w.changed = true
		if m.trigger == "n" {
			w.n++
		}
		ended := m.timed() && w.end-1 <= m.wm
		switch m.trigger {
		case "":
			if ended {
				m.fire(w)
			}
		case "update":
			m.fire(w)
		case "n":
			if ended || w.n >= m.every {
				m.fire(w)
			}
		case "clock":
			if ended {
				m.fire(w)
			} else if w.clock == 0 {
				w.clock = m.now + m.every
			}
		}
		if m.kind == "count" {
			if m.counts[e.Key]++; m.counts[e.Key] == w.end {
				m.end(w)
				m.drop(w)
			}
		}
	}
	if late {
		m.out = append(m.out, fmt.Sprintf("late %s %d", e.Key, e.At))
	}
	m.high = max(m.high, e.At)
	m.advance(max(m.wm, m.high-m.delay-1))
}

func (m *slow) drop(w *slowWindow) {
	m.wins = slices.DeleteFunc(m.wins, func(o *slowWindow) bool { return o == w })
}

func (m *slow) end(w *slowWindow) {
	if w.changed {
		m.fire(w)
	}
}

func (m *slow) advance(wm int64) {
	type due struct {
		at   int64
		w    *slowWindow
		gone bool
	}
	var all []due
	for _, w := range m.wins {
		last := w.end - 1
		if !m.timed() {
			last = forever
		}
		if last > m.wm && last <= wm && m.trigger != "final" {
			all = append(all, due{last, w, false})
		}
		if g := m.gone(w.end); g <= wm {
			all = append(all, due{g, w, true})
		}
	}
	kind := map[bool]int{true: 1}
	slices.SortStableFunc(all, func(a, b due) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.w.key, b.w.key), cmp.Compare(kind[a.gone], kind[b.gone]))
	})
	for _, d := range all {
		m.end(d.w)
		if d.gone {
			m.drop(d.w)
		}
	}
	m.wm = wm
}

// change makes the setting another one, which a restart does.
func (m *slow) change(to setting) {
	if to.lateness > m.lateness && m.wm != never {
		m.closed = max(m.closed, m.wm-m.lateness)
	}
	m.setting = to
}

func (m *slow) tick(d int64) {
	m.now += d
	var due []*slowWindow
	for _, w := range m.wins {
		if w.clock != 0 && w.clock <= m.now {
			due = append(due, w)
		}
	}
	slices.SortStableFunc(due, func(a, b *slowWindow) int {
		ends := cmp.Compare(a.end, b.end)
		if !m.timed() {
			ends = 0
		}
		return cmp.Or(cmp.Compare(a.clock, b.clock), ends, cmp.Compare(a.key, b.key))
	})
	for _, w := range due {
		if w.clock = 0; m.trigger == "clock" {
			m.end(w)
		}
	}
}

func (m *slow) fire(w *slowWindow) {
	var value strings.Builder
	first, end := w.events[0].At, w.events[0].At
	for _, e := range m.inOrder(w.events) {
		value.WriteString(nameOf(e))
		first, end = min(first, e.At), max(end, e.At)
	}
	if end++; m.timed() {
		first, end = w.start, w.end
	}
	line := fmt.Sprintf("%s %d-%d %q pane %d", w.key, first, end, value.String(), w.panes)
	if m.mode == handlers.Retracting && w.last != "" {
		m.out = append(m.out, "back "+w.last)
	}
	m.out = append(m.out, line)
	w.last = line
	w.panes++
	w.changed, w.n, w.clock = false, 0, 0
	if m.mode == handlers.Discarding {
		w.events = nil
	}
}

// sliced reports whether windows are merged from slices.
func (s setting) sliced() bool {
	return s.kind == "sliding" && s.merge && s.slide < s.size && (s.trigger == "" && s.mode == handlers.Accumulating || s.trigger == "final")
}

// inOrder returns events as they are folded and merged: as they came, and those of slices one slice after the
// other. Two are of one slice when they are in the same windows.
func (m *slow) inOrder(events []event) []event {
	if !m.sliced() {
		return events
	}
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b event) int {
		in, other := m.windowsOf(a), m.windowsOf(b)
		return cmp.Or(cmp.Compare(in[0][0], other[0][0]), cmp.Compare(in[len(in)-1][0], other[len(other)-1][0]))
	})
	return events
}

// settingOf makes a setting of bytes.
func settingOf(b [8]byte) setting {
	pick := func(i int, of ...string) string { return of[int(b[i])%len(of)] }
	s := setting{
		kind: pick(0, "tumbling", "sliding", "sliding", "global", "count"), trigger: pick(1, "", "update", "n", "clock", "final"),
		mode: handlers.EmitMode(b[1] / 5 % 3), size: 1 + int64(b[2]%24), delay: int64(b[4] % 16), lateness: int64(b[5] % 32),
		offset: int64(int8(b[6])), every: 1 + int64(b[7]%5), merge: b[7]&0x80 != 0,
	}
	s.slide = 1 + int64(b[3])%s.size
	if s.kind == "count" {
		s.size = 1 + s.size%6
	}
	return s
}

// play sends a script through the real thing and returns what it gave. cuts says where batches and lives end.
func (s setting) play(t testing.TB, events []event, cuts, limits uint8) []string {
	now := time.UnixMilli(0)
	h := s.handler()
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, h, func(c *stateful.Config) {
		c.Now = func() time.Time { return now }
		c.Limits.CommitRows = []int{0, 1, 2, 7}[limits&3]
		c.Limits.CachedEntries = []int{0, 1, 3, 9}[limits>>2&3]
	})
	for i, rest := 0, events; len(rest) > 0; i++ {
		if rest[0].Key == "tick" {
			now = now.Add(time.Duration(rest[0].At) * ms)
			if err := e.p.Tick(t.Context(), "lists"); err != nil {
				t.Fatal(err)
			}
			rest = rest[1:]
			continue
		}
		n := 1
		for n < len(rest) && rest[n].Key != "tick" && n < 1+int(cuts>>(i%5)&7) {
			n++
		}
		e.send(rest[:n]...)
		rest = rest[n:]
		if cuts>>(i%7)&1 == 1 {
			e.restart()
			if err := e.batch(nil, false); err != nil { // opens the task, so that it has its ticks
				t.Fatal(err)
			}
		}
	}
	e.end()
	if s.kind != "global" && s.kind != "count" {
		s.checkNothingIsLeft(t, e)
	}
	return e.long()
}

// checkNothingIsLeft finds what is stored of windows that are all gone.
func (s setting) checkNothingIsLeft(t testing.TB, e *engine) {
	t.Helper()
	for line := range bytes.Lines(ofTables(dump(t, e.cfg.Backend, stateful.TaskID{App: "test", Handler: "lists"}))) {
		key, _, _ := bytes.Cut(line, []byte(" "))
		name, err := hex.DecodeString(string(key))
		if err != nil {
			t.Fatal(err)
		}
		if left := string(name); !strings.HasPrefix(left, "sa\x00") && left != "sc\x00open" {
			t.Errorf("%v: %q is left in the store", s, left)
		}
	}
}

func (s setting) expect(events []event) []string {
	if s.kind == "session" {
		return s.expectSessions(events)
	}
	m := newSlow(s)
	for _, e := range events {
		if e.Key == "tick" {
			m.tick(e.At)
			continue
		}
		m.event(e)
	}
	m.advance(forever)
	return m.out
}

// longNames are keys one of which is how others begin, also where keys are escaped.
var longNames = map[string]string{"a": "", "b": "a", "c": "a\x00", "d": "a\x00b", "e": "ab"}

// longScript makes events and ticks of bytes.
func longScript(b []byte) (out []event) {
	for i, e := range script(b) {
		if i%7 == 5 {
			out = append(out, event{Key: "tick", At: 1 + e.At&3})
		}
		e.N = float64(i)
		e.Key = longNames[e.Key]
		out = append(out, e)
	}
	return out
}

// Windows of every kind, with every trigger and in every mode, whatever is cut where and however
// little is kept in memory, give what the plainest program gives.
func FuzzKinds(f *testing.F) {
	for kind := range uint64(5) {
		for trigger := range uint64(15) {
			f.Add([]byte{1, 4, 3, 90, 9, 200, 7, 3, 8, 17, 255, 0, 7, 1, 7, 128, 7, 90, 15, 3, 1, 4, 3, 90, 9, 200, 7, 3, 8, 17},
				kind|trigger<<8|0x0201070a0609<<16, uint8(kind), uint8(trigger))
		}
	}
	fuzzSlowly(f, settingOf)
}

func TestKindsAtRandom(t *testing.T) { playAtRandom(t, 0, settingOf) }

// fuzzSlowly holds the handler against the plainest program, in the settings that of makes.
func fuzzSlowly(f *testing.F, of func([8]byte) setting) {
	f.Fuzz(func(t *testing.T, b []byte, set uint64, cuts, limits uint8) {
		var bytes [8]byte
		for i := range bytes {
			bytes[i] = byte(set >> (8 * i))
		}
		of(bytes).compare(t, longScript(b), cuts, limits)
	})
}

// playAtRandom does so with random scripts, 1,000 or as many as PONDAGE_SCRIPTS says.
func playAtRandom(t *testing.T, stream uint64, of func([8]byte) setting) {
	n := uint64(1000)
	if v, err := strconv.ParseUint(os.Getenv("PONDAGE_SCRIPTS"), 10, 64); err == nil {
		n = v
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, stream))
		var set [8]byte
		for i := range set {
			set[i] = byte(r.Uint32())
		}
		b := make([]byte, r.IntN(160))
		for i := range b {
			b[i] = byte(r.Uint32())
			if i%2 == 1 && r.IntN(4) > 0 {
				b[i] = byte(int8(b[i]) / 4) // fewer jumps
			}
		}
		if !of(set).compare(t, longScript(b), uint8(r.Uint32()), uint8(r.Uint32())) {
			t.Fatalf("of seed %d", seed)
		}
	}
}

// compare reports whether events give what they should.
func (s setting) compare(t *testing.T, events []event, cuts, limits uint8) bool {
	t.Helper()
	got, want := s.play(t, events, cuts, limits), s.expect(events)
	if slices.Equal(got, want) {
		return true
	}
	t.Errorf("%v, cuts %d, limits %d\n%v\npublished\n%s\nwant\n%s\nfirst difference %q", s, cuts, limits, events,
		strings.Join(got, "\n"), strings.Join(want, "\n"), firstDifference(got, want))
	return false
}
