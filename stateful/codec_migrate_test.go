package stateful_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pondage/pondage/stateful"
)

type visitsV2 struct{ Count, Users int }

func migrateVisits(from uint32, decode func(any) error) (visitsV2, error) {
	if from != 1 {
		return visitsV2{}, errors.New("unexpected version")
	}
	var count int
	if err := decode(&count); err != nil {
		return visitsV2{}, err
	}
	return visitsV2{Count: count}, nil
}

func TestAnOlderSchemaIsMigratedWhenRead(t *testing.T) {
	old := encodeState(t, stateCodec(t, stateful.StateCodecConfig[int]{}), 41, 99)
	c := stateCodec(t, stateful.StateCodecConfig[visitsV2]{Version: 2, Migrate: migrateVisits})
	var got visitsV2
	if at, err := c.Decode(old, &got); err != nil || got != (visitsV2{Count: 41}) || at != 99 {
		t.Fatalf("got %v, expiry %d, %v", got, at, err)
	}
	h, _, err := stateful.ParseValueHeader(encodeState(t, c, got, 0))
	if err != nil || h.Schema != 2 {
		t.Errorf("written again as schema %d, %v; want 2", h.Schema, err)
	}
}

func TestOtherSchemasAreRefusedWithTheWayOut(t *testing.T) {
	v1 := encodeState(t, stateCodec(t, stateful.StateCodecConfig[int]{Version: 1}), 1, 0)
	v9 := encodeState(t, stateCodec(t, stateful.StateCodecConfig[visitsV2]{Version: 9}), visitsV2{}, 0)
	failing := func(uint32, func(any) error) (visitsV2, error) { return visitsV2{}, errors.New("cannot") }
	wrongType := func(_ uint32, decode func(any) error) (v visitsV2, err error) { return v, decode(new(string)) }
	noPointer := func(_ uint32, decode func(any) error) (v visitsV2, err error) { return v, decode(visitsV2{}) }
	noTarget := func(_ uint32, decode func(any) error) (v visitsV2, err error) { return v, decode(nil) }
	for _, tt := range []struct {
		name   string
		cfg    stateful.StateCodecConfig[visitsV2]
		stored []byte
		is     error
		want   []string
	}{
		{
			"a newer schema names both versions and the remedy",
			stateful.StateCodecConfig[visitsV2]{Version: 2},
			v9, stateful.ErrNewerSchema,
			[]string{"version 9", "up to 2", "deploy the newer build"},
		},
		{
			"an older schema without Migrate names both and the remedy",
			stateful.StateCodecConfig[visitsV2]{Version: 2},
			v1, nil,
			[]string{"version 1", "version 2", "set Migrate"},
		},
		{"a failing Migrate is told", stateful.StateCodecConfig[visitsV2]{Version: 2, Migrate: failing}, v1, nil, []string{"from version 1 to 2", "cannot"}},
		{"a wrong type in Migrate is told", stateful.StateCodecConfig[visitsV2]{Version: 2, Migrate: wrongType}, v1, nil, []string{"stored as int"}},
		{"a value instead of a pointer is told", stateful.StateCodecConfig[visitsV2]{Version: 2, Migrate: noPointer}, v1, nil, []string{"needs a pointer"}},
		{"nil instead of a pointer is told", stateful.StateCodecConfig[visitsV2]{Version: 2, Migrate: noTarget}, v1, nil, []string{"needs a pointer"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v visitsV2
			_, err := stateCodec(t, tt.cfg).Decode(tt.stored, &v)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("got %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}
