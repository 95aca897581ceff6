package embedded

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pondage/pondage/stateful"
)

// While MaxPendingBytes are on their way an append waits; one whose context ends meanwhile
// appends nothing.
func TestAppendWaitsForRoom(t *testing.T) {
	l, err := OpenMemory(Config{Partitions: 1, MaxPendingBytes: 1000})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	require.NoError(t, l.CreateTopic("t", 0))
	require.NoError(t, l.pending.Acquire(t.Context(), 1000))

	rec := stateful.Record{Value: []byte("v"), Time: stateful.NoTime}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Append(gone, "t", rec), context.Canceled)

	done := make(chan error, 1)
	go func() { done <- l.Append(t.Context(), "t", rec) }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait for room: %v", err)
	default:
	}
	l.pending.Release(1000)
	require.NoError(t, <-done)
	n := 0
	for _, err := range l.Read("t", 0, 0) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 1, n)
}
