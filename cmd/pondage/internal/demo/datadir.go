package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pondage/pondage/pubsub/embedded"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/memory"
	"github.com/pondage/pondage/stateful/pebble"
)

const (
	recordFile    = "demo.json"
	recordVersion = 2 // 1 had only the results of the first view
	databaseDir   = "db"
)

// record is what a data folder says of the run in it.
type record struct {
	Version    int    `json:"version"`
	Input      source `json:"input"`
	Partitions int    `json:"partitions"`
	MaxDelay   string `json:"max_delay"`
	Backend    string `json:"backend"`
	// Incarnation rises when state in memory begins anew over a log that is kept.
	Incarnation uint64 `json:"incarnation"`
	// Loaded is set once the whole input is in the log.
	Loaded *loaded `json:"loaded,omitempty"`
	// Guarantee is set once the run is finished: what it gave.
	Guarantee string `json:"guarantee,omitempty"`
}

// loaded says what the input was.
type loaded struct {
	Rows  int64  `json:"rows"`
	Fault string `json:"fault,omitempty"` // why it ended too early
}

func newRecord(o Options, in source) record {
	return record{
		Version: recordVersion, Input: in, Partitions: o.Partitions, MaxDelay: o.MaxDelay.String(),
		Backend: o.Backend, Incarnation: 1,
	}
}

func (r *record) finished() bool { return r.Guarantee != "" }

// check refuses a run that is not the stored one, naming all that differs.
func (r *record) check(dir string, o Options, in source) error {
	var errs []error
	differ := func(what, asked, stored, out string) {
		errs = append(errs, fmt.Errorf("%s is %s, and %s was begun with %s: give %s, or another --data-dir", what, asked, dir, stored, out))
	}
	if !r.Input.same(in) {
		differ("--input", in.String(), r.Input.String(), r.Input.flag())
	}
	if r.Partitions != o.Partitions {
		differ("--partitions", fmt.Sprint(o.Partitions), fmt.Sprint(r.Partitions), fmt.Sprint("--partitions ", r.Partitions))
	}
	if d, err := time.ParseDuration(r.MaxDelay); err != nil || d != o.MaxDelay {
		differ("--max-delay", o.MaxDelay.String(), r.MaxDelay, "--max-delay "+r.MaxDelay)
	}
	if r.Backend == Memory && o.Backend == Pebble {
		differ("--backend", Pebble, Memory+", whose state is gone", "--backend "+Memory)
	}
	return errors.Join(errs...)
}

// readRecord returns nil when the folder has none because it is new.
func readRecord(dir string) (*record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, checkNew(dir)
	}
	if err != nil {
		return nil, err
	}
	var r record
	err = json.Unmarshal(b, &r)
	if err == nil && r.Version < 1 {
		err = errors.New("it has no version")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w: use another --data-dir", filepath.Join(dir, recordFile), err)
	}
	if r.Version > recordVersion {
		return nil, fmt.Errorf("%s has version %d and this program knows %d: use a newer one, or another --data-dir",
			filepath.Join(dir, recordFile), r.Version, recordVersion)
	}
	if r.Version < recordVersion {
		r.Guarantee = "" // the other views are still to be done
	}
	return &r, nil
}

// checkNew refuses to spread out in a folder that has something else in it.
func checkNew(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != databaseDir && !strings.HasPrefix(e.Name(), recordFile) {
			return fmt.Errorf("%s holds %s and no data of a demo: use an empty or a new folder as --data-dir", dir, e.Name())
		}
	}
	return nil
}

// write replaces the record as a whole, durably.
func (r *record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, recordFile)
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// store is an open data folder. Only one process can have it open.
type store struct {
	dir     string
	rec     record
	used    bool // it was there before
	log     *embedded.Log
	backend stateful.Backend
}

// openStore opens the data folder of this run, which is begun when it is new.
func openStore(ctx context.Context, dir string, o Options, in source) (s *store, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	s = &store{dir: dir}
	db := filepath.Join(dir, databaseDir)
	if o.Backend == Memory {
		s.backend = memory.New()
		s.log, err = embedded.Open(embedded.Config{Dir: db})
	} else {
		var b *pebble.Backend
		if b, err = pebble.New(ctx, pebble.Config{Dir: db}); err == nil {
			s.backend = b
			s.log, err = embedded.Open(embedded.Config{DB: b.DB()}) // one commit for both
		}
	}
	if err == nil {
		err = s.begin(o, in)
	}
	if errors.Is(err, syscall.EAGAIN) {
		err = fmt.Errorf("%s is in use by another process: wait for its end, or use another --data-dir (%w)", dir, err)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// begin reads or writes the record, now that no other process can.
func (s *store) begin(o Options, in source) error {
	stored, err := readRecord(s.dir)
	if err != nil {
		return err
	}
	if stored == nil {
		s.rec = newRecord(o, in)
		return s.rec.write(s.dir)
	}
	s.rec, s.used = *stored, true
	if err := s.rec.check(s.dir, o, in); err != nil || s.rec.Version == recordVersion {
		return err
	}
	s.rec.Version = recordVersion
	return s.rec.write(s.dir)
}

// Close closes what is open.
func (s *store) Close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.backend != nil {
		errs = append(errs, s.backend.Close())
	}
	return errors.Join(errs...)
}
