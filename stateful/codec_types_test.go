package stateful_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// pane is a window's value with methods written by hand.
type pane struct {
	Pane  uint32
	Count int64
}

func (p pane) AppendBinary(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(p.Pane))
	return binary.AppendVarint(b, p.Count), nil
}

func (p *pane) UnmarshalBinary(b []byte) error {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > math.MaxUint32 {
		return errors.New("pane: bad number")
	}
	c, rest := binary.Varint(b[size:])
	if rest <= 0 || size+rest != len(b) {
		return errors.New("pane: bad count")
	}
	p.Pane, p.Count = uint32(n), c
	return nil
}

// packed has the methods that msgp generates, in the form that it generates.
type packed struct {
	Name string
	Tags []string
}

func (p *packed) MarshalMsg(b []byte) ([]byte, error) {
	b = msgp.AppendArrayHeader(b, 2)
	b = msgp.AppendString(b, p.Name)
	b = msgp.AppendArrayHeader(b, uint32(len(p.Tags)))
	for _, t := range p.Tags {
		b = msgp.AppendString(b, t)
	}
	return b, nil
}

func (p *packed) UnmarshalMsg(b []byte) ([]byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err == nil && n != 2 {
		err = msgp.ArrayError{Wanted: 2, Got: n}
	}
	if err == nil {
		p.Name, b, err = msgp.ReadStringBytes(b)
	}
	if err == nil {
		n, b, err = msgp.ReadArrayHeaderBytes(b)
	}
	if err != nil {
		return b, err
	}
	p.Tags = make([]string, n)
	for i := range p.Tags {
		if p.Tags[i], b, err = msgp.ReadStringBytes(b); err != nil {
			return b, err
		}
	}
	return b, nil
}

type (
	level  int8
	title  string
	blob   []byte
	ratio  float64
	toggle bool
)

// profile is a value as users write it, stored as CBOR.
type profile struct {
	Name    string
	Age     int `cbor:"1,keyasint"`
	Scores  map[string]float64
	Path    []inner
	Parent  *profile
	Seen    time.Time
	Addr    netip.Addr
	Big     *big.Int
	ID      [16]byte
	Raw     []byte
	Skipped chan int `cbor:"-"`
	level   int      //nolint:unused // it is there to be left out
}

type inner struct {
	X, Y float32
	Up   uint64
}
