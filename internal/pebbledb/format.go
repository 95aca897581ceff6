package pebbledb

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion is the version of the layout of all keys and values. One that
// this release does not know is refused.
const formatVersion = 1

var formatKey = []byte("\x00format")

// checkFormat writes the version into a new database and compares it in an old
// one.
func (d *DB) checkFormat() error {
	if d.Err() != nil {
		return nil // said already
	}
	v, closer, err := d.Get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return d.initFormat()
	}
	if err != nil {
		return fmt.Errorf("read the format version: %w", err)
	}
	defer closer.Close() //nolint:errcheck // of a read
	if len(v) != 1 || v[0] == 0 {
		return fmt.Errorf("format version %x is none: the directory is damaged or not Pondage's; use another one", v)
	}
	if v[0] > formatVersion {
		return fmt.Errorf("format version %d is newer than %d, the newest this release knows: "+
			"run the release that wrote it, or a newer one, or use another directory", v[0], formatVersion)
	}
	return nil
}

func (d *DB) initFormat() error {
	it, err := d.NewIter(nil)
	if err != nil {
		return fmt.Errorf("look for keys: %w", err)
	}
	used := it.First()
	if err := it.Close(); err != nil {
		return fmt.Errorf("look for keys: %w", err)
	}
	if used {
		return errors.New("it has keys but no format version: this is no database of Pondage's; use another directory")
	}
	// Synced whatever the configuration, so that no later key can be there without it.
	if err := d.Set(formatKey, []byte{formatVersion}, pebble.Sync); err != nil {
		return fmt.Errorf("write the format version: %w", err)
	}
	return nil
}
