package embedded

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pondage/pondage/internal/pebbledb"
	"github.com/pondage/pondage/stateful"
)

// The second byte of every key.
const (
	kindCommitted = 'c'
	kindMark      = 'm'
	kindProducer  = 'p'
	kindRecords   = 'r'
	kindTopic     = 't'
)

// The third byte of a producer's key.
const (
	producerNamed = 0
	producerTask  = 1
)

// version is the first byte of every value.
const version = 1

var be = binary.BigEndian

// logID is the identity of a topic's log.
type logID [8]byte

func (id logID) String() string { return hex.EncodeToString(id[:]) }

func topicKey(name string) []byte {
	return append([]byte{pebbledb.SpaceLog, kindTopic}, name...)
}

func partKey(kind byte, id logID, part int32) []byte {
	k := append(make([]byte, 0, 32), pebbledb.SpaceLog, kind)
	k = append(k, id[:]...)
	return be.AppendUint32(k, uint32(part))
}

// logRange returns the range of all keys of a kind and a log.
func logRange(kind byte, id logID) (from, to []byte) {
	from = append([]byte{pebbledb.SpaceLog, kind}, id[:]...)
	return from, after(from)
}

// after returns the least key above all keys that begin with prefix, whose
// first byte is not 0xff.
func after(prefix []byte) []byte {
	k := append([]byte(nil), prefix...)
	for i := len(k) - 1; ; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
}

func taskProducerKey(p stateful.Producer) []byte {
	k := []byte{pebbledb.SpaceLog, kindProducer, producerTask}
	k = be.AppendUint32(k, uint32(p.Partition))
	k = binary.AppendUvarint(k, uint64(len(p.App)))
	k = append(k, p.App...)
	return append(k, p.Handler...)
}

func namedProducerKey(name string) []byte {
	return append([]byte{pebbledb.SpaceLog, kindProducer, producerNamed}, name...)
}

// errFormat is wrapped by every failure to decode what is stored.
var errFormat = errors.New("unreadable format")

// fixed returns v without its version byte, after checking its length.
func fixed(what string, v []byte, n int) ([]byte, error) {
	if len(v) > 0 && v[0] > version {
		return nil, fmt.Errorf("%w: %s has version %d, this program reads up to %d: use a newer one", errFormat, what, v[0], version)
	}
	if len(v) != n+1 || v[0] != version {
		return nil, fmt.Errorf("%w: %s is %x, want %d bytes: the data folder is damaged, restore a copy", errFormat, what, v, n+1)
	}
	return v[1:], nil
}

// topicMeta is the stored value of a topic.
type topicMeta struct {
	id         logID
	partitions int32
	sealed     bool
}

func (m topicMeta) encode() []byte {
	v := append([]byte{version}, m.id[:]...)
	v = be.AppendUint32(v, uint32(m.partitions))
	if m.sealed {
		return append(v, 1)
	}
	return append(v, 0)
}

func decodeTopicMeta(v []byte) (m topicMeta, err error) {
	b, err := fixed("topic", v, 13)
	if err != nil {
		return m, err
	}
	copy(m.id[:], b)
	m.partitions = int32(be.Uint32(b[8:]))
	m.sealed = b[12]&1 != 0
	if m.partitions < 1 || m.partitions > MaxPartitions {
		return m, fmt.Errorf("%w: topic has %d partitions", errFormat, m.partitions)
	}
	return m, nil
}

func encodeMark(start, end int64) []byte {
	v := be.AppendUint64([]byte{version}, uint64(start))
	return be.AppendUint64(v, uint64(end))
}

func decodeMark(v []byte) (start, end int64, err error) {
	b, err := fixed("partition mark", v, 16)
	if err != nil {
		return 0, 0, err
	}
	start, end = int64(be.Uint64(b)), int64(be.Uint64(b[8:]))
	if start < 0 || end < start {
		return 0, 0, fmt.Errorf("%w: partition mark is [%d,%d)", errFormat, start, end)
	}
	return start, end, nil
}

func encodeOffset(off int64) []byte { return be.AppendUint64([]byte{version}, uint64(off)) }

func decodeOffset(v []byte) (int64, error) {
	b, err := fixed("committed offset", v, 8)
	if err != nil {
		return 0, err
	}
	off := int64(be.Uint64(b))
	if off < 0 {
		return 0, fmt.Errorf("%w: committed offset is %d", errFormat, off)
	}
	return off, nil
}

// stamp is the value of a producer's cursor.
type stamp struct{ incarnation, epoch, seq uint64 }

func (s stamp) encode() []byte {
	v := be.AppendUint64([]byte{version}, s.incarnation)
	v = be.AppendUint64(v, s.epoch)
	return be.AppendUint64(v, s.seq)
}

func decodeStamp(v []byte) (s stamp, err error) {
	b, err := fixed("producer cursor", v, 24)
	if err != nil {
		return s, err
	}
	return stamp{be.Uint64(b), be.Uint64(b[8:]), be.Uint64(b[16:])}, nil
}
