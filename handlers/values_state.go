package handlers

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendBinary implements [encoding.BinaryAppender]: the number of parts, a byte for the kind of
// each, the count of events as a varint; then for each part that is no count 8 bytes, little-endian, or if it is no number a
// uvarint length and what the part wrote, nothing when there was no event.
func (v *Values) AppendBinary(b []byte) ([]byte, error) {
	n := v.Len()
	b = append(b, byte(n))
	for _, k := range v.kinds[:n] {
		b = append(b, byte(k))
	}
	b = binary.AppendVarint(b, v.count)
	for i, k := range v.kinds[:n] {
		switch {
		case k == countKind:
		case k.object():
			var state []byte
			var err error
			if v.objs != nil && v.objs[i] != nil {
				if state, err = v.objs[i].appendState(nil); err != nil {
					return nil, err
				}
			}
			b = append(binary.AppendUvarint(b, uint64(len(state))), state...)
		default:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v.nums[i]))
		}
	}
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (v *Values) UnmarshalBinary(b []byte) error {
	*v = Values{}
	if len(b) == 0 || int(b[0]) > MaxParts || len(b) < 1+int(b[0]) {
		return errStateShort
	}
	n := int(b[0])
	for i, k := range b[1 : 1+n] {
		if kind(k) == noKind || int(kind(k)&^ready) >= len(kindNames) {
			return fmt.Errorf("the stored aggregate has a part of the unknown kind %d: use the program that wrote it, or a newer one", k)
		}
		v.kinds[i] = kind(k)
	}
	count, w := binary.Varint(b[1+n:])
	if w <= 0 {
		return errStateShort
	}
	v.count, b = count, b[1+n+w:]
	for i, k := range v.kinds[:n] {
		switch {
		case k == countKind:
		case k.object():
			size, w := binary.Uvarint(b)
			if w <= 0 || size > uint64(len(b)-w) {
				return errStateShort
			}
			state := b[w : w+int(size)]
			if b = b[w+int(size):]; size == 0 {
				continue
			}
			o, err := readObject(k, state)
			if err != nil {
				return fmt.Errorf("%s: %w", kindNames[k], err)
			}
			v.objs = v.ownObjects(v.objs)
			v.objs[i] = o
		case len(b) < 8:
			return errStateShort
		default:
			v.nums[i], b = math.Float64frombits(binary.LittleEndian.Uint64(b)), b[8:]
		}
	}
	if len(b) > 0 {
		return errStateShort
	}
	return nil
}
