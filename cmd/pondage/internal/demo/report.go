package demo

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/pondage/pondage/stateful"
)

// hour is a result: the flights of an airport in an hour of their schedule.
type hour struct {
	Origin  string    `json:"origin"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Flights int64     `json:"flights"`
	Mean    float64   `json:"mean_delay_minutes"`
	Max     int64     `json:"max_delay_minutes"`

	raw []byte // as it is in the topic
}

// letter is a dead letter.
type letter struct{ file, line, reason string }

// report is what a data folder holds at the end.
type report struct {
	rec     record
	hours   []hour // in order of start, then origin
	counted int64
	late    int64
	letters []letter // in order of lines
	extra   int      // results that are there more than once
}

// read collects the report from the output topics, from their beginning.
func (s *store) read() (*report, error) {
	r := &report{rec: s.rec}
	for part := range int32(s.rec.Partitions) {
		for rec, err := range s.log.Read(topicHours, part, 0) {
			if err != nil {
				return nil, err
			}
			h := hour{raw: slices.Clone(rec.Value)}
			if err := json.Unmarshal(h.raw, &h); err != nil {
				return nil, fmt.Errorf("result %d of partition %d: %w", rec.Offset, part, err)
			}
			r.hours = append(r.hours, h)
			r.counted += h.Flights
		}
		for _, topic := range []string{topicDead, topicHandlerDead} {
			for rec, err := range s.log.Read(topic, part, 0) {
				if err != nil {
					return nil, err
				}
				r.letters = append(r.letters, newLetter(&rec))
			}
		}
	}
	r.late = countRecords(s.log, topicLate, s.rec.Partitions)
	slices.SortFunc(r.hours, func(a, b hour) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Origin, b.Origin))
	})
	for i := 1; i < len(r.hours); i++ {
		if a, b := &r.hours[i-1], &r.hours[i]; a.Start.Equal(b.Start) && a.Origin == b.Origin {
			r.extra++
		}
	}
	slices.SortFunc(r.letters, func(a, b letter) int {
		return cmp.Or(cmp.Compare(len(a.line), len(b.line)), cmp.Compare(a.line, b.line))
	})
	return r, nil
}

func newLetter(rec *stateful.Record) (l letter) {
	l.file, _ = rec.Header(headerFile)
	l.line, _ = rec.Header(headerLine)
	l.reason, _ = rec.Header(stateful.DeadLetterReason)
	return l
}

// verdict returns why the run is not as it should be, nil when it is.
func (r *report) verdict() error {
	var errs []error
	if got := r.counted + r.late + int64(len(r.letters)); got != r.rec.Loaded.Rows {
		errs = append(errs, fmt.Errorf("%d rows were read and %d are accounted for", r.rec.Loaded.Rows, got))
	}
	if r.extra > 0 {
		errs = append(errs, fmt.Errorf("%d results are there more than once", r.extra))
	}
	if f := r.rec.Loaded.Fault; f != "" {
		errs = append(errs, fmt.Errorf("the input ended too early, the rows before count: %s", f))
	}
	return errors.Join(errs...)
}

// print writes results to out and what is said about them to notes.
func (r *report) print(o Options, out, notes io.Writer) error {
	w := bufio.NewWriter(out)
	if o.Output == JSON {
		for i := range r.hours {
			w.Write(r.hours[i].raw)
			w.WriteByte('\n')
		}
	} else {
		notes = w
		r.table(w)
	}
	r.summary(notes)
	return w.Flush()
}

const (
	worstHours  = 10
	enough      = 10 // flights in an hour, for its mean to mean something
	lettersSaid = 10
)

// table shows the hours of the longest mean delay.
func (r *report) table(out io.Writer) {
	worst := slices.DeleteFunc(slices.Clone(r.hours), func(h hour) bool { return h.Flights < enough })
	what := fmt.Sprintf("The worst hours, of those with %d flights or more", enough)
	if len(worst) == 0 {
		worst, what = slices.Clone(r.hours), "The worst hours"
	}
	if len(worst) == 0 {
		return
	}
	slices.SortStableFunc(worst, func(a, b hour) int { return cmp.Compare(b.Mean, a.Mean) })
	printf(out, "%s:\n\n", what)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	printf(w, "origin\thour (UTC)\tflights\tmean delay\tlongest\t\n")
	for _, h := range worst[:min(len(worst), worstHours)] {
		printf(w, "%s\t%s\t%d\t%.2f min\t%d min\t\n", h.Origin, h.Start.Format("2006-01-02 15:04"), h.Flights, h.Mean, h.Max)
	}
	w.Flush() //nolint:errcheck // of the bufio.Writer below, whose own Flush says it
	printf(out, "\n")
}

func (r *report) summary(out io.Writer) {
	for i, l := range r.letters {
		if i == lettersSaid {
			printf(out, "dead-lettered: %s more\n", thousands(int64(len(r.letters)-i)))
			break
		}
		printf(out, "dead-lettered: %s:%s: %s\n", l.file, l.line, l.reason)
	}
	once := ", each window once"
	if r.extra > 0 {
		once = fmt.Sprintf(", of which %s are repeated", thousands(int64(r.extra)))
	}
	printf(out, "read %s = counted %s + late %s + dead-lettered %s\n",
		thousands(r.rec.Loaded.Rows), thousands(r.counted), thousands(r.late), thousands(int64(len(r.letters))))
	printf(out, "results: %s%s\n", thousands(int64(len(r.hours))), once)
	printf(out, "delivery: %s\n", r.rec.Guarantee)
}
