package stateful

import "encoding/binary"

// Murmur2Partitioner is Kafka's default [Partitioner]: the same key goes to the
// same partition as with Kafka's own producer. partitions must be at least 1. A nil
// key is hashed like an empty one.
func Murmur2Partitioner(key []byte, partitions int) int {
	return int(Murmur2(key)&0x7fffffff) % partitions
}

// Murmur2 is the 32-bit MurmurHash2 with the seed of Kafka's clients.
func Murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for len(data) >= 4 {
		k := binary.LittleEndian.Uint32(data) * m
		k = (k ^ k>>r) * m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
