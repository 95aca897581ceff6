package embedded

import (
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/stateful"
)

// The bytes on disk: a change here is a change of the stored format.
func TestFormatsDoNotChange(t *testing.T) {
	id := logID{1, 2, 3, 4, 5, 6, 7, 8}
	var b builder
	b.reset(1000)
	b.add([]byte("k"), []byte("v"), []stateful.Header{{Key: "h", Value: "x"}}, 1001)
	b.add(nil, []byte{}, nil, stateful.NoTime)
	b.finish()
	p := newTopic("t", topicMeta{id: id, partitions: 2}).parts[1]
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"topic key", topicKey("t"), "657474"},
		{"topic", topicMeta{id, 4, true}.encode(), "0101020304050607080000000401"},
		{"record key", recordKey(p, 258), "65720102030405060708000000010000000000000102"},
		{"block", b.buf, "010000000200000000000003e80000000a026b02760201000100000168" + "0178"},
		{"mark key", partKey(kindMark, id, 1), "656d010203040506070800000001"},
		{"mark", encodeMark(1, 2), "0100000000000000010000000000000002"},
		{"committed key", committedKey(p, "g"), "656301020304050607080000000167"},
		{"committed", encodeOffset(3), "010000000000000003"},
		{"named producer key", namedProducerKey("p"), "65700070"},
		{"task producer key", taskProducerKey(stateful.Producer{App: "a", Handler: "h", Partition: 2}), "65700100000002016168"},
		{"cursor", stamp{1, 2, 3}.encode(), "01000000000000000100000000000000020000000000000003"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, hex.EncodeToString(tt.got))
		})
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	_, err := decodeTopicMeta([]byte{2})
	require.ErrorContains(t, err, "use a newer one")
	_, err = parseBlock([]byte{2})
	require.ErrorContains(t, err, "use a newer one")
}

// Decoding what was encoded gives it back, from any offset on.
func FuzzBlockRoundTrip(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "name", "text", int64(5), uint8(3), uint8(1))
	f.Add([]byte{}, []byte(nil), "", "", int64(-1), uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, key, value []byte, name, text string, time int64, n, skip uint8) {
		if time == stateful.NoTime || n == 0 {
			return
		}
		var want []stateful.Record
		var b builder
		b.reset(1_700_000_000_000)
		for i := range int(n) {
			r := stateful.Record{Key: key, Value: value, Time: time + int64(i), Offset: 7 + int64(i)}
			if i%2 == 1 {
				r.Key = nil
				r.Headers = []stateful.Header{{Key: name, Value: text}, {Key: text, Value: name}}
			}
			want = append(want, r)
			b.add(r.Key, r.Value, r.Headers, r.Time)
		}
		b.finish()
		from, base := 0, int64(7)
		var got batchBuffer
		for _, e := range b.ends {
			s := min(int(skip), e.count-1)
			got.reset()
			if err := decodeBlock(&got, b.buf[from:e.end], base, s, len(want)); err != nil {
				t.Fatal(err)
			}
			lo := int(base) - 7
			if d := cmp.Diff(want[lo+s:lo+e.count], got.records); d != "" {
				t.Error(d)
			}
			from, base = e.end, base+int64(e.count)
		}
	})
}

// Whatever bytes are found, decoding them never panics and never makes up records.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{version, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0})
	f.Add(topicMeta{partitions: 1}.encode())
	f.Add(stamp{}.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		var b batchBuffer
		if err := decodeBlock(&b, v, 0, 0, 1000); err == nil && len(b.records) == 0 {
			t.Error("a block without records was taken")
		}
		if m, err := decodeTopicMeta(v); err == nil && m.partitions < 1 {
			t.Error("a topic without partitions was taken")
		}
		if s, e, err := decodeMark(v); err == nil && (s < 0 || e < s) {
			t.Errorf("mark [%d,%d) was taken", s, e)
		}
		_, _ = decodeOffset(v)
		_, _ = decodeStamp(v)
	})
}

// The limits follow the speed of the handler.
func TestLimitsDoubleAndHalve(t *testing.T) {
	l := &Log{c: Config{}.withDefaults()}
	r := &reader{l: l}
	slow := &delivery{full: true, filled: 1} // handled since the zero time
	for _, want := range []limits{{2048, 2 << 20}, {4096, 4 << 20}, {8192, 8 << 20}, {16384, 8 << 20}} {
		r.adapt(slow)
		require.Equal(t, want, r.limits())
	}
	for range 10 {
		r.adapt(slow)
	}
	require.Equal(t, limits{64 << 10, 8 << 20}, r.limits())
	r.adapt(&delivery{full: false, filled: 1 << 60})
	require.Equal(t, limits{64 << 10, 8 << 20}, r.limits(), "a batch that was cut short says nothing")
	r.adapt(&delivery{full: true, filled: 1 << 60, watch: startWatch()})
	require.Equal(t, limits{32 << 10, 8 << 20}, r.limits())
}

func TestAfterIsTheNextPrefix(t *testing.T) {
	require.Equal(t, []byte{1, 3}, after([]byte{1, 2, 0xff}))
	require.Equal(t, []byte{2}, after([]byte{1, 0xff, 0xff}))
}

// Two appends that name their topics in different order lock them in the same.
func TestPartitionsAreLockedInOneOrder(t *testing.T) {
	x := newTopic("x", topicMeta{id: logID{1}, partitions: 2})
	y := newTopic("y", topicMeta{id: logID{2}, partitions: 2})
	var orders [][]*partition
	for _, topics := range [][]*topic{{x, y}, {y, x}} {
		a := &appender{l: &Log{c: Config{}.withDefaults()}}
		for _, tp := range topics {
			for i := range int32(2) {
				require.NoError(t, a.add(a.topic(tp), nil, nil, nil, 0, 1-i))
			}
		}
		require.NoError(t, a.lock())
		var ps []*partition
		for _, pa := range a.parts {
			ps = append(ps, pa.p)
		}
		a.unlock()
		orders = append(orders, ps)
	}
	require.True(t, slices.Equal([]*partition{x.parts[0], x.parts[1], y.parts[0], y.parts[1]}, orders[0]))
	require.True(t, slices.Equal(orders[0], orders[1]))
}
