package stateful

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SchemaPart is one thing that stored state depends on: how it is cut, or the type of one of its
// values. State that was stored with another Kind of a part of this name is refused.
type SchemaPart struct {
	// Name tells the part from the others. What follows a slash is a part of what stands before
	// it: values/count is the field count of values.
	Name string
	// Kind is what it is, in words: "tumbling 1m0s", "integer".
	Kind string
	// Version of the type, for one that can be migrated: with a higher one another Kind is
	// taken, with a lower one any is refused. Of a part of another it is that one's.
	Version uint32
}

// schemaVersion is the first byte of the entry that holds a task's schema.
const schemaVersion = 1

func appendSchema(b []byte, parts []SchemaPart) []byte {
	b = append(b, schemaVersion)
	b = binary.AppendUvarint(b, uint64(len(parts)))
	for _, p := range parts {
		b = appendString(appendString(b, p.Name), p.Kind)
		b = binary.AppendUvarint(b, uint64(p.Version))
	}
	return b
}

func parseSchema(b []byte) ([]SchemaPart, error) {
	r := &reader{b: b}
	if v := r.byte(); v != schemaVersion {
		return nil, fmt.Errorf("the schema of the state has format %d, this program knows %d: use the program that wrote it, or a newer one", v, schemaVersion)
	}
	parts := make([]SchemaPart, r.count(3))
	for i := range parts {
		parts[i] = SchemaPart{Name: r.string(), Kind: r.string()}
		v := r.uvarint()
		if parts[i].Version = uint32(v); uint64(parts[i].Version) != v {
			r.fail(fmt.Errorf("part %q has version %d", parts[i].Name, v))
		}
	}
	return parts, r.end("the schema of the state")
}

// whole returns the name of what a part is part of, its own when it is part of nothing.
func (p SchemaPart) whole() string {
	name, _, _ := strings.Cut(p.Name, "/")
	return name
}

// within reports whether p is a part of what is called name.
func (p SchemaPart) within(name string) bool {
	rest, ok := strings.CutPrefix(p.Name, name)
	return ok && rest != "" && strings.ContainsRune("/[{", rune(rest[0]))
}

// schemaDiff is what a changed handler finds stored.
type schemaDiff struct {
	next []SchemaPart // what is stored from now on
	errs []error
	lost []string // fields that are stored and not read any more; without what is in them
}

// changed reports whether next is not what was stored.
func (d *schemaDiff) changed(stored []SchemaPart) bool { return !slices.Equal(d.next, stored) }

// compareSchemas says what becomes of state that was stored with one schema and is used with another.
// What is not known to both stays as it is: a state that is no longer used is still stored.
func compareSchemas(stored, now []SchemaPart) schemaDiff {
	var d schemaDiff
	is := make(map[string]SchemaPart, len(now))
	for _, p := range now {
		is[p.Name] = p
	}
	for _, was := range stored {
		p, known := is[was.Name]
		whole, used := is[was.whole()]
		switch {
		case used && whole.Version > was.Version:
			continue // it is migrated
		case known && p.Version < was.Version:
			d.errs = append(d.errs, fmt.Errorf("%s have version %d and this build has %d: deploy the newer build again", was.Name, was.Version, p.Version))
		case known && p.Kind != was.Kind:
			d.errs = append(d.errs, fmt.Errorf("%s: stored is %q, and now it is %q", was.Name, was.Kind, p.Kind))
		case !known && used && !slices.ContainsFunc(d.lost, was.within):
			d.lost = append(d.lost, was.Name)
		}
		if !known {
			d.next = append(d.next, was)
		}
	}
	d.next = append(d.next, now...)
	slices.SortFunc(d.next, func(a, b SchemaPart) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// err says what cannot be read, and the ways out.
func (d *schemaDiff) err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return fmt.Errorf("the stored state is of another kind: %w: set it back, or give the handler another Name, under which it starts empty"+
		" and reads its input anew; for values of another type there is also State.Version, raised, with Migrate", oneLine(errors.Join(d.errs...)))
}

// oneLine joins what errors.Join wrote in lines.
func oneLine(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// stateSchema is what is stored of a declared state.
func stateSchema[T any](name, kind string, ttl time.Duration, clock TimerKind, cfg StateCodecConfig[T]) []SchemaPart {
	parts := []SchemaPart{{Name: "state " + name, Kind: kind}}
	if ttl > 0 {
		by := "event time"
		if clock == ProcessingTime {
			by = "processing time"
		}
		parts = append(parts, SchemaPart{Name: "clock of " + name, Kind: by})
	}
	if codec, err := NewStateCodec(cfg); err == nil {
		parts = append(parts, codec.Schema("values of "+name)...)
	}
	return parts
}
