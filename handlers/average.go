package handlers

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
)

// Average is the value of [Mean]. Its JSON is {"mean":2.5,"sum":5,"count":2}.
type Average struct {
	Sum   float64
	Count int64
}

// Mean returns Sum / Count, 0 when there are no events.
func (a Average) Mean() float64 {
	if a.Count == 0 {
		return 0
	}
	return a.Sum / float64(a.Count)
}

func (a Average) plus(b Average) (Average, error) {
	sum, err := add(a.Sum, b.Sum)
	if err != nil {
		return a, err
	}
	return Average{Sum: sum, Count: a.Count + b.Count}, nil
}

type averageJSON struct {
	Mean  float64 `json:"mean"`
	Sum   float64 `json:"sum"`
	Count int64   `json:"count"`
}

// MarshalJSON implements [json.Marshaler].
func (a Average) MarshalJSON() ([]byte, error) {
	return json.Marshal(averageJSON{a.Mean(), a.Sum, a.Count})
}

// UnmarshalJSON implements [json.Unmarshaler]; the mean is computed and not read.
func (a *Average) UnmarshalJSON(b []byte) error {
	var j averageJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	a.Sum, a.Count = j.Sum, j.Count
	return nil
}

// AppendBinary implements [encoding.BinaryAppender]: the sum in 8 bytes, little-endian,
// then the count as a varint.
func (a *Average) AppendBinary(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(a.Sum))
	return binary.AppendVarint(b, a.Count), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (a *Average) UnmarshalBinary(b []byte) error {
	if len(b) < 9 {
		return errStateShort
	}
	n, w := binary.Varint(b[8:])
	if w <= 0 || 8+w != len(b) {
		return errStateShort
	}
	a.Sum, a.Count = math.Float64frombits(binary.LittleEndian.Uint64(b)), n
	return nil
}

var errStateShort = errors.New("the stored aggregate has another length than it says")
