// Package verify says whether a data folder is right: every input once in the state, every
// window once in the output. It shares no code with what it judges: it reads the raw keys as
// docs/formats.md describes them, and computes what must be there from the input alone.
//
// The folder may be that of a run which was killed at any moment. Then the state must hold
// exactly what lies below its position, and the outputs exactly what follows from that; rows that
// are committed and not yet published must wait in the state.
package verify

import (
	"errors"
	"fmt"
)

// Event is one input: the payload of the topics in, echo and late.
type Event struct {
	Seq       uint64 `json:"seq"` // over all partitions, from 1
	Partition int    `json:"partition"`
	Key       string `json:"key"`
	At        int64  `json:"at"` // ms
	N         int64  `json:"n"`
}

// Sum is one result: the payload of the topic sums.
type Sum struct {
	Key   string `json:"key"`
	Start int64  `json:"start"`
	Count int64  `json:"count"`
	Sum   int64  `json:"sum"`
	Mix   uint64 `json:"mix"` // of the sequences, in whatever order
}

// Mix is what one event adds to [Sum.Mix].
func Mix(seq uint64) uint64 {
	seq ^= seq >> 33
	seq *= 0xff51afd7ed558ccd
	seq ^= seq >> 33
	seq *= 0xc4ceb9fe1a85ec53
	return seq ^ seq>>33
}

// The names of the workload that is judged.
const (
	App   = "verify"
	Input = "in"
	// Echo writes each event's sequence into its state, how often it came, and emits
	// the event again.
	Echo = "echo"
	// Sums folds events into windows and emits the results, and what is late to Late.
	Sums = "sums"
	Late = "late"
)

// Workload is what must be known to compute the results.
type Workload struct {
	Delay int64 // ms, how far events may be behind
	Size  int64 // ms, of the windows
}

// Data is what a folder holds. Slices are per partition.
type Data struct {
	InputLog string // identity of the log of the topic in
	Sealed   bool
	Inputs   [][]Event
	Echoes   [][]Event
	Sums     [][]Sum
	Lates    [][]Event
	Ledger   []map[uint64]uint64 // of Echo: how often each sequence came
	Echo     []Task
	Window   []Task
}

// Task is what a task says of itself.
type Task struct {
	Log       string // identity of the input's log, "" when it never read
	Position  int64
	Ended     bool  // the end of the input was processed
	Advancing bool  // not everything due has fired
	NextRow   int64 // sequence of its next output
	Rows      []int64
}

// Marks tell how far a folder is. They never go back, not even by a crash: if they do, an older copy
// was put in its place.
type Marks struct {
	InputLog string
	Counts   []int64
}

// Marks returns those of d.
func (d *Data) Marks() Marks {
	m := Marks{InputLog: d.InputLog}
	for p := range d.Inputs {
		m.Counts = append(m.Counts, int64(len(d.Inputs[p])), int64(len(d.Echoes[p])), int64(len(d.Sums[p])), int64(len(d.Lates[p])),
			d.Echo[p].Position, d.Window[p].Position)
	}
	return m
}

// After returns an error when m cannot be of the folder that had earlier before.
func (m Marks) After(earlier Marks) error {
	if earlier.InputLog == "" {
		return nil
	}
	if m.InputLog != earlier.InputLog || len(m.Counts) != len(earlier.Counts) {
		return fmt.Errorf("the input is log %s of %d marks, and was %s of %d: the folder is another one", m.InputLog, len(m.Counts), earlier.InputLog, len(earlier.Counts))
	}
	for i := range m.Counts {
		if m.Counts[i] < earlier.Counts[i] {
			return fmt.Errorf("partition %d went back from %v to %v (inputs, echoes, sums, lates, positions): an older copy was put back",
				i/6, earlier.Counts[i/6*6:i/6*6+6], m.Counts[i/6*6:i/6*6+6])
		}
	}
	return nil
}

// Check returns everything that is wrong with d, nil when nothing is.
func (w Workload) Check(d *Data) error {
	errs := []error{d.checkInputs()}
	for p := range d.Inputs {
		for _, err := range []error{d.checkLedger(p), d.checkEchoes(p), w.checkSums(d, p)} {
			if err != nil {
				errs = append(errs, fmt.Errorf("partition %d: %w", p, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Finished returns why d, which must also pass Check, is not that of a run that has done everything.
func (d *Data) Finished() error {
	var errs []error
	if !d.Sealed {
		errs = append(errs, errors.New("the input is not sealed"))
	}
	for p, events := range d.Inputs {
		for _, t := range []Task{d.Echo[p], d.Window[p]} {
			if t.Position != int64(len(events)) || !t.Ended || t.Advancing {
				errs = append(errs, fmt.Errorf("partition %d: a task is at %+v, the input has %d", p, t, len(events)))
			}
		}
		if int64(len(d.Echoes[p])) != d.Echo[p].NextRow-1 || int64(len(d.Sums[p])+len(d.Lates[p])) != d.Window[p].NextRow-1 {
			errs = append(errs, fmt.Errorf("partition %d: not everything is published", p))
		}
	}
	return errors.Join(errs...)
}

// checkInputs: what was loaded is each sequence once, without holes, where its key belongs.
func (d *Data) checkInputs() error {
	total := 0
	for _, events := range d.Inputs {
		total += len(events)
	}
	seen := make([]bool, total+1)
	for p, events := range d.Inputs {
		last := uint64(0)
		for i, e := range events {
			switch {
			case e.Partition != p:
				return fmt.Errorf("input %d is in partition %d and belongs to %d", e.Seq, p, e.Partition)
			case e.Seq == 0 || e.Seq > uint64(total):
				return fmt.Errorf("input %d is loaded, but only %d are: some before it are missing", e.Seq, total)
			case seen[e.Seq]:
				return fmt.Errorf("input %d is loaded twice, once at offset %d of partition %d", e.Seq, i, p)
			case e.Seq < last:
				return fmt.Errorf("input %d comes after %d in partition %d", e.Seq, last, p)
			}
			seen[e.Seq], last = true, e.Seq
		}
	}
	return nil
}

// position checks that a task stands in the input that is there.
func (d *Data) position(p int, t Task) ([]Event, error) {
	if t.Log == "" && t.Position == 0 {
		return nil, nil
	}
	if t.Log != d.InputLog {
		return nil, fmt.Errorf("the state is of log %s, the input is log %s", t.Log, d.InputLog)
	}
	if t.Position > int64(len(d.Inputs[p])) {
		return nil, fmt.Errorf("the state stands at %d, the input ends at %d: an older copy of the log was put back", t.Position, len(d.Inputs[p]))
	}
	return d.Inputs[p][:t.Position], nil
}

func (d *Data) checkLedger(p int) error {
	events, err := d.position(p, d.Echo[p])
	if err != nil {
		return err
	}
	ledger := d.Ledger[p]
	for _, e := range events {
		if n := ledger[e.Seq]; n != 1 {
			return fmt.Errorf("input %d is %d times in the state", e.Seq, n)
		}
	}
	if len(ledger) != len(events) {
		return fmt.Errorf("the state has %d inputs and its position says %d: effects without their position", len(ledger), len(events))
	}
	return nil
}

func (d *Data) checkEchoes(p int) error {
	t := d.Echo[p]
	events, err := d.position(p, t)
	if err != nil {
		return nil //nolint:nilerr // said by checkLedger
	}
	for i, e := range d.Echoes[p] {
		if i >= len(events) {
			return fmt.Errorf("echo %d (input %d) is published, the state knows of %d: published and not committed, or an older copy of the state was put back", i, e.Seq, len(events))
		}
		if e != events[i] {
			return fmt.Errorf("echo %d is of input %d, want %d", i, e.Seq, events[i].Seq)
		}
	}
	return t.waiting("echo", int64(len(d.Echoes[p])), int64(len(events)), int64(len(events)))
}

// waiting: outputs that are committed and not published must be stored in the state.
func (t *Task) waiting(what string, published, least, most int64) error {
	emitted := t.NextRow - 1
	if emitted < least || emitted > most {
		return fmt.Errorf("%s: the state has emitted %d, want %d to %d", what, emitted, least, most)
	}
	if published > emitted {
		return fmt.Errorf("%s: %d are published and %d were emitted", what, published, emitted)
	}
	stored := make(map[int64]bool, len(t.Rows))
	for _, seq := range t.Rows {
		stored[seq] = true
	}
	for seq := published + 1; seq <= emitted; seq++ {
		if !stored[seq] {
			return fmt.Errorf("%s: output %d was emitted, and is neither published nor stored", what, seq)
		}
	}
	return nil
}
