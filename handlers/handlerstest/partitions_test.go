package handlerstest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pondage/pondage/handlers/handlerstest"
	"github.com/pondage/pondage/stateful"
)

// playOver sends events, keyed, over a number of partitions and returns all results in order
// of their lines, for partitions have no order among them.
func playOver(t *testing.T, events []any, partitions int, l luck) []string {
	t.Helper()
	backend := openBackend(t, l.backend)
	w := perMinute()
	w.MaxDelay = time.Hour // nothing is late, whatever the partition has seen
	d := handlerstest.New(t, w, handlerstest.StartAt(noon), handlerstest.InBatchesOf(l.batch), handlerstest.On(backend))
	defer d.Close()
	for i := 0; i < len(events); i += l.batch {
		parts := make([][]any, partitions)
		for _, e := range events[i:min(i+l.batch, len(events))] {
			n := stateful.Murmur2Partitioner([]byte(e.(visit).User), partitions)
			parts[n] = append(parts[n], e)
		}
		for n, some := range parts {
			if len(some) > 0 {
				d.OnPartition(int32(n)).Send(some...)
			}
		}
		if l.restarts > 0 && i/l.batch%l.restarts == 0 {
			d.Restart()
		}
	}
	d.End()
	if late := d.Emitted("late"); len(late) > 0 {
		t.Fatalf("%d events are late, and the bound is to leave none", len(late))
	}
	got := d.Emitted("counts")
	slices.Sort(got)
	return got
}

// With a bound that leaves nothing late, how a topic is partitioned changes no result.
func TestPartitionsChangeNothing(t *testing.T) {
	var events []any
	for _, e := range visits(1200) {
		if v, ok := e.(visit); ok {
			events = append(events, v)
		}
	}
	want := playOver(t, events, 1, luck{batch: 1})
	if len(want) < 50 {
		t.Fatalf("the workload shows nothing: %d results", len(want))
	}
	for _, backend := range []string{"memory", "pebble", "redis", "postgres"} {
		for _, batch := range []int{17, 1000} {
			for _, restarts := range []int{0, 3} {
				for _, partitions := range []int{1, 4} {
					l := luck{backend: backend, batch: batch, restarts: restarts}
					t.Run(fmt.Sprintf("partitions=%d %s", partitions, l), func(t *testing.T) {
						if got := playOver(t, events, partitions, l); !slices.Equal(got, want) {
							t.Errorf("%d results, want %d, or others", len(got), len(want))
						}
					})
				}
			}
		}
	}
}
