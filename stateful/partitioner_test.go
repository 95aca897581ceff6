package stateful_test

import (
	"testing"

	"github.com/pondage/pondage/stateful"
)

// The vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
func TestMurmur2IsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		t.Run(key, func(t *testing.T) {
			if got := int32(stateful.Murmur2([]byte(key))); got != want {
				t.Errorf("Murmur2(%q) = %d, want %d", key, got, want)
			}
			if got, want := stateful.Murmur2Partitioner([]byte(key), 7), int(want&0x7fffffff)%7; got != want {
				t.Errorf("Murmur2Partitioner(%q, 7) = %d, want %d", key, got, want)
			}
		})
	}
}
