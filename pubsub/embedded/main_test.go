package embedded_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func memory(t testing.TB, c embedded.Config) *embedded.Log {
	t.Helper()
	l, err := embedded.OpenMemory(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// onFS opens a log whose appends are synced. It is not closed by the test's end.
func onFS(t testing.TB, fs vfs.FS, c embedded.Config) *embedded.Log {
	t.Helper()
	c.Dir, c.FS = "log", fs
	l, err := embedded.Open(c)
	require.NoError(t, err)
	return l
}

func rec(key, value string) stateful.Record {
	r := stateful.Record{Value: []byte(value), Time: stateful.NoTime}
	if key != "" {
		r.Key = []byte(key)
	}
	return r
}

func recs(from, to int) []stateful.Record {
	var rs []stateful.Record
	for i := from; i < to; i++ {
		rs = append(rs, rec("", fmt.Sprint(i)))
	}
	return rs
}

// values reads a partition from its start and checks that offsets have no gap.
func values(t testing.TB, l *embedded.Log, topic string, part int32) []string {
	t.Helper()
	from, err := l.StartOffset(topic, part)
	require.NoError(t, err)
	var vs []string
	for r, err := range l.Read(topic, part, from) {
		require.NoError(t, err)
		require.Equal(t, from+int64(len(vs)), r.Offset)
		vs = append(vs, string(r.Value))
	}
	end, err := l.EndOffset(topic, part)
	require.NoError(t, err)
	require.Equal(t, end, from+int64(len(vs)))
	return vs
}

func numbers(from, to int) []string {
	var vs []string
	for i := from; i < to; i++ {
		vs = append(vs, fmt.Sprint(i))
	}
	return vs
}

// receive fails the test when nothing comes; the wait is only reached then.
func receive(t testing.TB, ch <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m, ok := <-ch:
		require.True(t, ok, "the subscription ended")
		return m
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing was delivered")
		return nil
	}
}

func ended(t testing.TB, ch <-chan *message.Message) {
	t.Helper()
	for {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-time.After(10 * time.Second):
			require.FailNow(t, "the subscription did not end")
		}
	}
}

var ctx = context.Background()
