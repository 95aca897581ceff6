package stateful

import (
	"fmt"
	"math"
	"time"
)

// NoTime is the Time of a record that has none of its own.
const NoTime = math.MinInt64

// Record is one event. Its memory belongs to the source and may be used again
// once the batch it came in was acknowledged or given up: keep a copy of what
// must last longer.
type Record struct {
	Key     []byte
	Value   []byte
	Headers []Header
	// Time is the source's own time of the record in milliseconds since 1970 UTC
	// (Kafka's or the embedded log's timestamp, the time of arrival for plain
	// messages), or [NoTime].
	Time int64
	// Offset is the record's place in its partition's log. Sources without
	// positions leave it 0.
	Offset int64
	// ID identifies the record over redeliveries, for sources without positions;
	// empty otherwise.
	ID string
}

// Header is one name and value that travels with a record. Order and
// repetitions are kept.
type Header struct{ Key, Value string }

// UUIDHeader is the header in which the UUID of a Watermill message travels through a log.
const UUIDHeader = "pondage_uuid"

// Header returns the value of the first header named key, and whether there is
// one.
func (r *Record) Header(key string) (string, bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return "", false
}

// When returns the source's own time of the record, the zero time when it has none.
func (r *Record) When() time.Time {
	if r.Time == NoTime {
		return time.Time{}
	}
	return time.UnixMilli(r.Time).UTC()
}

// Partition names one ordered log of a source: a topic and an index in it.
type Partition struct {
	Topic string
	Index int32
}

func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }

// Position says where in a log a task stands: Offset is the next record it has
// not seen. Log is the identity of the log (an embedded log's id, a Kafka topic
// id): a position in one log means nothing in another, even of the same name,
// and is refused there (S2). The zero Log means "never been here".
type Position struct {
	Log    string
	Offset int64
}

// TaskID names a task: the unit of order, of state ownership and of fencing.
type TaskID struct {
	App       string
	Handler   string
	Partition int32
}

func (t TaskID) String() string { return fmt.Sprintf("%s/%s/%d", t.App, t.Handler, t.Partition) }
