package stateful

import (
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pondage/pondage/stateful/window"
)

var updateTask = flag.Bool("update-task", false, "write the files of testdata/task that are missing")

// golden is a stored entry that every later version must open. Its file, key and value in
// hexadecimal, is written once, by -update-task, and never changed: a new format gets new files.
type golden struct {
	name  string
	now   Entry // as it is written today; empty: no longer
	check func(t *testing.T, e Entry)
}

var (
	metaWithAll = meta{
		incarnation: 2, nextRow: 300, watermark: -1, advanced: -1000, fired: Firing{Time: 7, Kind: 3, Key: "ana"},
		inputs: []inputMeta{
			{topic: "in", pos: Position{Log: "log-1", Offset: 4096}, maxTime: 1000},
			{topic: "other", maxTime: math.MinInt64},
		},
		published: map[string]Published{"b": {Seq: 2, Trim: 2}, "a": {Seq: 299, Trim: 299}},
		dedup:     []dedupGen{{index: 20000, count: 3, since: 1000, until: 1500}, {index: 20001, since: 2000, until: 2000}},
		timers:    300,
	}
	metaOfSilence = meta{ // what version 2 added
		incarnation: 1, nextRow: 1, watermark: 50, advanced: 9, fired: noFiring, flushing: true,
		inputs: []inputMeta{
			{topic: "in", pos: Position{Log: "log-1", Offset: 1}, maxTime: 50},
			{topic: "idle", maxTime: 10, state: window.Idle},
			{topic: "lagging", maxTime: 30, state: window.Lagging},
		},
	}
	metaOfKeptRows = meta{ // what version 3 added
		incarnation: 1, nextRow: 301, watermark: 50, advanced: 50, fired: noFiring,
		published: map[string]Published{"a": {Seq: 300, Trim: 260, Refused: 258}, "b": {Trim: 3}},
	}
	metaOfANewTask = meta{incarnation: 1, nextRow: 1, watermark: math.MinInt64, advanced: math.MinInt64, fired: noFiring}
	rowWithAll     = Row{
		Seq: 258, Topic: "out", Key: []byte("ana"), Payload: []byte(`{"n":1}`), Time: -1,
		Headers: []Header{{"a", "1"}, {"a", ""}},
	}
	rowWithLittle = Row{Seq: 1, Topic: "out", Key: []byte{}, Payload: []byte{}, Time: NoTime}
	rowOfNil      = Row{Seq: 1, Topic: "out", Time: NoTime}
	aTimer        = Timer{Kind: ProcessingTime, Time: -2, Namespace: "reminders", Key: "ana"}
	aSchema       = []SchemaPart{{Name: "values", Kind: "fields", Version: 3}, {Name: "values/n", Kind: "integer", Version: 3}, {Name: "windows", Kind: "tumbling 1m0s offset 0s"}}
	aHandle       = Prepared{Sink: "bank", Seq: 258, Handle: []byte{0, 1, 255}}
)

// before4 is m without what version 4 added.
func before4(m meta) meta {
	m.timers, m.dedup = -1, slices.Clone(m.dedup)
	for i := range m.dedup {
		m.dedup[i].since, m.dedup[i].until = unknownTime, unknownTime
	}
	return m
}

func goldens(t *testing.T) []golden {
	metaIs := func(want meta) func(*testing.T, Entry) {
		return func(t *testing.T, e Entry) {
			got, err := parseMeta(e.Value)
			if want.inputs == nil {
				want.inputs = []inputMeta{}
			}
			if want.published == nil {
				want.published = map[string]Published{}
			}
			if want.dedup == nil {
				want.dedup = []dedupGen{}
			}
			same(t, err, got, want)
		}
	}
	rowIs := func(want Row) func(*testing.T, Entry) {
		return func(t *testing.T, e Entry) {
			got, err := parseRow(e.Key, e.Value)
			same(t, err, got, want)
		}
	}
	codec, err := NewStateCodec(StateCodecConfig[int]{})
	if err != nil {
		t.Fatal(err)
	}
	five := 5
	value, err := codec.Append(nil, &five, 0)
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable(&Task{}, "sums", codec)
	lastingTable := NewTable[lasting[int]](&Task{}, "sums", lastingCodec[int]{codec})
	mapKey := string(appendMapKey(appendPart(nil, "ana"), -2))
	lives, err := codec.Append(nil, &five, -7)
	if err != nil {
		t.Fatal(err)
	}
	return []golden{
		{"v1-expiry", Entry{expiryKey(ProcessingTime, -7, lastingTable.prefix+mapKey), []byte{}}, func(t *testing.T, e Entry) {
			clock, at, full, err := parseExpiryKey(e.Key)
			same(t, err, fmt.Sprint(clock, at, full), fmt.Sprint(ProcessingTime, -7, lastingTable.prefix+mapKey))
		}},
		{"v1-map-entry", Entry{lastingTable.prefix + mapKey, lives}, func(t *testing.T, e Entry) {
			c := lastingTable.add(e.Key)
			err := lastingTable.decode(c, e.Value)
			same(t, err, fmt.Sprint(parseMapKey[int](afterPart(c.Key(), "ana")), c.val), "-2 {5 -7 -7}")
		}},
		{"v1-meta", Entry{}, metaIs(before4(metaWithAll))},
		{"v1-meta-new", Entry{}, metaIs(before4(metaOfANewTask))},
		{"v2-meta", Entry{}, metaIs(before4(metaWithAll))},
		{"v2-meta-new", Entry{}, metaIs(before4(metaOfANewTask))},
		{"v2-meta-silence", Entry{}, metaIs(before4(metaOfSilence))},
		{"v3-meta", Entry{}, metaIs(before4(metaWithAll))},
		{"v3-meta-new", Entry{}, metaIs(before4(metaOfANewTask))},
		{"v3-meta-silence", Entry{}, metaIs(before4(metaOfSilence))},
		{"v3-meta-kept", Entry{}, metaIs(before4(metaOfKeptRows))},
		{"v4-meta", Entry{spaceMeta, metaWithAll.append(nil)}, metaIs(metaWithAll)},
		{"v4-meta-new", Entry{spaceMeta, metaOfANewTask.append(nil)}, metaIs(metaOfANewTask)},
		{"v4-meta-silence", Entry{spaceMeta, metaOfSilence.append(nil)}, metaIs(metaOfSilence)},
		{"v4-meta-kept", Entry{spaceMeta, metaOfKeptRows.append(nil)}, metaIs(metaOfKeptRows)},
		{"v1-row", Entry{}, rowIs(rowWithAll)},
		{"v1-row-little", Entry{}, rowIs(rowWithLittle)},
		{"v2-row", Entry{rowKey(258), appendRow(nil, &rowWithAll)}, rowIs(rowWithAll)},
		{"v2-row-little", Entry{rowKey(1), appendRow(nil, &rowWithLittle)}, rowIs(rowWithLittle)},
		{"v2-row-tombstone", Entry{rowKey(1), appendRow(nil, &rowOfNil)}, rowIs(rowOfNil)},
		{"v1-timer", Entry{timerKey(aTimer), []byte{}}, func(t *testing.T, e Entry) {
			got, err := parseTimerKey(e.Key)
			same(t, err, got, aTimer)
		}},
		{"v1-prepared", Entry{preparedKey(aHandle), aHandle.Handle}, func(t *testing.T, e Entry) {
			got, err := parsePrepared(e)
			same(t, err, got, aHandle)
		}},
		{"v1-schema", Entry{spaceSchema, appendSchema(nil, aSchema)}, func(t *testing.T, e Entry) {
			got, err := parseSchema(e.Value)
			same(t, err, got, aSchema)
		}},
		{"v1-table", Entry{table.Fresh([]byte("ana")).full, value}, func(t *testing.T, e Entry) {
			c := table.add(e.Key)
			err := table.decode(c, e.Value)
			same(t, err, fmt.Sprint(c.Key(), " ", c.val), "ana 5")
		}},
		// Only ever looked for, never taken apart.
		{"v1-mark", Entry{string(appendDedupKey(nil, 20000, "in", "id-1")), []byte{}}, nil},
		{"v1-user", Entry{spaceUser + "ana", []byte("5")}, nil},
	}
}

func same(t *testing.T, err error, got, want any) {
	t.Helper()
	all := cmp.Exporter(func(reflect.Type) bool { return true })
	if diff := cmp.Diff(want, got, all); err != nil || diff != "" {
		t.Errorf("it is read as something else: %v\n%s", err, diff)
	}
}

func TestOldEntriesOfTasksStillOpen(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			file := filepath.Join("testdata", "task", g.name+".golden")
			stored, err := os.ReadFile(file)
			if os.IsNotExist(err) && *updateTask {
				stored = fmt.Appendf(nil, "%x\n%x\n", g.now.Key, g.now.Value)
				err = os.WriteFile(file, stored, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(stored), "\n")
			key, err1 := hex.DecodeString(lines[0])
			value, err2 := hex.DecodeString(lines[1])
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			e := Entry{string(key), value}
			if g.check != nil {
				g.check(t, e)
			}
			if now := g.now; now.Key != "" && (now.Key != e.Key || string(now.Value) != string(e.Value)) {
				t.Errorf("is now written as\n%x\n%x\nwas\n%x\n%x\na changed format needs a version of its own", now.Key, now.Value, e.Key, e.Value)
			}
		})
	}
}

func TestNewerEntriesOfTasksAreRefused(t *testing.T) {
	for _, v := range []byte{0, 5, 255} {
		m := metaWithAll.append(nil)
		m[0] = v
		_, errMeta := parseMeta(m)
		row := appendRow(nil, &rowWithAll)
		row[0] = v
		_, errRow := parseRow(rowKey(258), row)
		schema := appendSchema(nil, aSchema)
		schema[0] = v
		_, errSchema := parseSchema(schema)
		for _, err := range []error{errMeta, errRow, errSchema} {
			if err == nil || !strings.Contains(err.Error(), "or a newer one") {
				t.Errorf("version %d: err = %v, want one that says to use a newer program", v, err)
			}
		}
	}
}

// Bytes that no version wrote are refused, and what is read is written as it was.
func FuzzEntriesOfTasks(f *testing.F) {
	f.Add(metaWithAll.append(nil))
	f.Add(metaOfANewTask.append(nil))
	f.Add(metaOfSilence.append(nil))
	f.Add(appendRow(nil, &rowWithAll))
	f.Add(appendSchema(nil, aSchema))
	f.Add([]byte(timerKey(aTimer)))
	f.Add([]byte(preparedKey(aHandle)))
	f.Add([]byte(expiryKey(EventTime, 110, "ssums\x00ana")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMeta(b); err == nil {
			again, err := parseMeta(m.append(nil))
			same(t, err, again, m)
		}
		if row, err := parseRow(rowKey(1), b); err == nil {
			again, err := parseRow(rowKey(1), appendRow(nil, &row))
			same(t, err, again, row)
		}
		if schema, err := parseSchema(b); err == nil {
			again, err := parseSchema(appendSchema(nil, schema))
			same(t, err, again, schema)
		}
		if timer, err := parseTimerKey(string(b)); err == nil {
			again, err := parseTimerKey(timerKey(timer))
			same(t, err, again, timer)
		}
		if clock, at, full, err := parseExpiryKey(string(b)); err == nil && expiryKey(clock, at, full) != string(b) {
			t.Errorf("the key %x is written again as %x", b, expiryKey(clock, at, full))
		}
		if p, err := parsePrepared(Entry{Key: string(b)}); err == nil && preparedKey(p) != string(b) {
			t.Errorf("the key %x is written again as %x", b, preparedKey(p))
		}
	})
}

// Keys of rows and timers are in the order of their numbers, below zero too.
func FuzzKeysKeepOrder(f *testing.F) {
	f.Add(int64(-1), int64(0))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b int64) {
		ka, kb := timerKey(Timer{Kind: EventTime, Time: a, Key: "z"}), timerKey(Timer{Kind: EventTime, Time: b, Key: "a"})
		if a < b && ka >= kb {
			t.Errorf("the timer of %d comes after that of %d", a, b)
		}
		if a < b && expiryKey(EventTime, a, "sz") >= expiryKey(EventTime, b, "sa") {
			t.Errorf("the expiry at %d comes after that at %d", a, b)
		}
		if a, b := uint64(a)>>1, uint64(b)>>1; a < b && rowKey(a) >= rowKey(b) {
			t.Errorf("row %d comes after row %d", a, b)
		}
	})
}
