package kvs

import (
	"sync"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"

	"github.com/pondage/pondage/stateful"
)

// counts is what one call adds to the statistics.
type counts struct {
	gets, puts, deletes uint64
	hits, misses        uint64
	read, written       uint64
	retries             uint64
}

// found counts a value that was looked for, nil when it was not there.
func (c *counts) found(v []byte) {
	if v == nil {
		c.misses++
		return
	}
	c.hits++
	c.read += uint64(len(v))
}

// meter adds up. Its sketch is of bounded size.
type meter struct {
	mu      sync.Mutex
	sum     stateful.KVStats
	latency *ddsketch.DDSketch // in nanoseconds
}

// Latencies are kept within 1 %, the shortest of them together when they spread over more than this many
// steps: from a nanosecond to days takes 1,500.
const latencyBins = 2048

func newMeter() meter {
	d, err := ddsketch.LogCollapsingLowestDenseDDSketch(0.01, latencyBins)
	if err != nil {
		panic(err) // constants
	}
	return meter{latency: d}
}

func (m *meter) add(c *counts, took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.OperationCount++
	m.sum.RetryCount += c.retries
	if err != nil {
		m.sum.ErrorCount++
		return
	}
	m.sum.GetCount += c.gets
	m.sum.PutCount += c.puts
	m.sum.DeleteCount += c.deletes
	m.sum.Hits += c.hits
	m.sum.Misses += c.misses
	m.sum.BytesRead += c.read
	m.sum.BytesWritten += c.written
	m.latency.Add(float64(max(took, 1))) //nolint:errcheck // a number above zero
}

func (m *meter) read() stateful.KVStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sum
	if q, err := m.latency.GetValuesAtQuantiles([]float64{0.5, 0.99}); err == nil { // not when it is empty
		s.LatencyP50, s.LatencyP99 = time.Duration(q[0]), time.Duration(q[1])
	}
	return s
}
