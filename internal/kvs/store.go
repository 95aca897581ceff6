package kvs

import (
	"math"
	"strconv"
)

// Increment returns the counter in value plus by, for stores that compute it themselves. ok is false when value
// is none or the sum would overflow.
func Increment(value []byte, there bool, by int64) (n int64, ok bool) {
	if there {
		var err error
		if n, err = strconv.ParseInt(string(value), 10, 64); err != nil || strconv.FormatInt(n, 10) != string(value) {
			return 0, false
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		return 0, false
	}
	return n + by, true
}

// Successor returns the first key behind all that begin with prefix, empty when there is none.
func Successor(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) > 0 {
		b[len(b)-1]++
	}
	return string(b)
}
