package verify

import (
	"path/filepath"
	"time"
)

// The workload of the worker, the program that is killed.
const (
	Delay = 2 * time.Second
	Size  = time.Second
	Keys  = 50
)

// Standard is what the worker does.
var Standard = Workload{Delay: Delay.Milliseconds(), Size: Size.Milliseconds()}

// Life is how one life of the worker is led.
type Life struct {
	Dir        string
	Separate   bool   // state and log in a database each, so that the outbox relays
	State      string // redis:// or postgres:// URL of the server that has the state; then Separate holds, too
	Space      string // its prefix or schema
	Partitions int
	Seed       uint64 // of the events
	Records    uint64 // then the input is sealed
	Batch      int    // records of an envelope
	CommitRows int    // of a commit, 0 for the default
	Sabotage   string // a fault to plant with the event Victim, see LoseFromState and others; or LoadLate
}

// Victim is the sequence of the event that a fault is planted with.
const Victim = 777

// The faults that can be planted.
const (
	LoseFromState  = "lose from state"
	LoseEcho       = "lose echo"
	DoubleEcho     = "echo twice"
	LoseFromWindow = "lose from window"
	DoubleInWindow = "count twice in window"
)

// LoadLate has the loader begin once everything is processed, as it may when an earlier life has loaded it all. It is no fault.
const LoadLate = "load late"

// StateDir is the folder of the state's database.
func (l *Life) StateDir() string {
	if l.Separate {
		return filepath.Join(l.Dir, "state")
	}
	return l.LogDir()
}

// LogDir is the folder of the log's database.
func (l *Life) LogDir() string { return filepath.Join(l.Dir, "log") }
