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

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
	"github.com/pondage/pondage/stateful"
)

// row is a result: the flights of an airport in a window of their schedule.
type row struct {
	Origin  string    `json:"origin"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Flights int64     `json:"flights"`
	Mean    float64   `json:"mean_delay_minutes"`
	Max     int64     `json:"max_delay_minutes"`

	raw []byte // as it is in the topic
}

// letter is a dead letter.
type letter struct {
	file, line, reason string
	long               bool // it is a handler's, and its row a flight with a long delay
}

// shown is what there is of one view.
type shown struct {
	*view
	rows    []row // in order of start, then origin
	counted int64 // flights in them
	late    int64
	letters []letter // in order of lines
	extra   int      // results that are there more than once
}

// report is what a data folder holds at the end.
type report struct {
	rec   record
	views []shown
	long  int64 // flights with a long delay
}

// read collects the report from the topics, from their beginning.
func (s *store) read() (*report, error) {
	r := &report{rec: s.rec}
	dead, err := s.letters(topicDead)
	if err != nil {
		return nil, err
	}
	failed, err := s.letters(topicHandlerDead)
	if err != nil {
		return nil, err
	}
	for i := range views {
		v, err := s.readView(&views[i])
		if err != nil {
			return nil, err
		}
		v.letters = slices.Concat(dead[""], failed[v.topic])
		slices.SortFunc(v.letters, func(a, b letter) int {
			return cmp.Or(cmp.Compare(len(a.line), len(b.line)), cmp.Compare(a.line, b.line))
		})
		r.views = append(r.views, v)
	}
	r.long, err = s.countLong()
	return r, err
}

func (s *store) readView(v *view) (shown, error) {
	out := shown{view: v, late: countRecords(s.log, v.late, s.rec.Partitions)}
	for rec, err := range s.all(v.topic) {
		if err != nil {
			return out, err
		}
		h := row{raw: slices.Clone(rec.Value)}
		if err := json.Unmarshal(h.raw, &h); err != nil {
			return out, fmt.Errorf("result %d of %s: %w", rec.Offset, v.topic, err)
		}
		out.rows = append(out.rows, h)
		out.counted += h.Flights
	}
	slices.SortFunc(out.rows, func(a, b row) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Origin, b.Origin))
	})
	for i := 1; i < len(out.rows); i++ {
		if a, b := &out.rows[i-1], &out.rows[i]; a.Start.Equal(b.Start) && a.Origin == b.Origin {
			out.extra++
		}
	}
	return out, nil
}

// all yields the records of a topic.
func (s *store) all(topic string) func(yield func(*stateful.Record, error) bool) {
	return func(yield func(*stateful.Record, error) bool) {
		for part := range int32(s.rec.Partitions) {
			for rec, err := range s.log.Read(topic, part, 0) {
				if !yield(&rec, err) || err != nil {
					return
				}
			}
		}
	}
}

// letters returns the dead letters of a topic, by handler.
func (s *store) letters(topic string) (map[string][]letter, error) {
	all := make(map[string][]letter)
	for rec, err := range s.all(topic) {
		if err != nil {
			return nil, err
		}
		l := letter{}
		l.file, _ = rec.Header(headerFile)
		l.line, _ = rec.Header(headerLine)
		l.reason, _ = rec.Header(stateful.DeadLetterReason)
		handler, ok := rec.Header(stateful.DeadLetterHandler)
		f, err := flights.Parse(rec.Value)
		l.long = ok && err == nil && isLong(f)
		all[handler] = append(all[handler], l)
	}
	return all, nil
}

// countLong counts the flights in the log whose delay is long.
func (s *store) countLong() (n int64, err error) {
	for rec, err := range s.all(topicFlights) {
		if err != nil {
			return 0, err
		}
		if f, err := flights.Parse(rec.Value); err == nil && isLong(f) {
			n++
		}
	}
	return n, nil
}

// verdict returns why the run is not as it should be, nil when it is.
func (r *report) verdict() error {
	var errs []error
	for i := range r.views {
		if v := &r.views[i]; v.extra > 0 {
			errs = append(errs, fmt.Errorf("%d %s results are there more than once", v.extra, v.name))
		}
	}
	if v := r.view(Tumbling); v.counted+v.late+int64(len(v.letters)) != r.rec.Loaded.Rows {
		errs = append(errs, fmt.Errorf("%d rows were read and %d are accounted for", r.rec.Loaded.Rows, v.counted+v.late+int64(len(v.letters))))
	}
	if v := r.view(Sessions); v.counted+v.late+v.longLetters() != r.long {
		errs = append(errs, fmt.Errorf("%d long delays were read and %d are accounted for", r.long, v.counted+v.late+v.longLetters()))
	}
	if f := r.rec.Loaded.Fault; f != "" {
		errs = append(errs, fmt.Errorf("the input ended too early, the rows before count: %s", f))
	}
	return errors.Join(errs...)
}

func (r *report) view(name string) *shown {
	return &r.views[slices.IndexFunc(r.views, func(v shown) bool { return v.name == name })]
}

// longLetters counts the dead letters with a long delay.
func (v *shown) longLetters() (n int64) {
	for _, l := range v.letters {
		if l.long {
			n++
		}
	}
	return n
}

// print writes results to out and what is said about them to notes.
func (r *report) print(o Options, out, notes io.Writer) error {
	v := r.view(o.Show)
	w := bufio.NewWriter(out)
	if o.Output == JSON {
		v.json(w)
	} else {
		notes = w
		v.table(w)
	}
	r.summary(v, notes)
	return w.Flush()
}

// printAll writes the results of all views.
func (r *report) printAll(out io.Writer) error {
	w := bufio.NewWriter(out)
	for i := range r.views {
		r.views[i].json(w)
	}
	return w.Flush()
}

func (v *shown) json(w *bufio.Writer) {
	for i := range v.rows {
		w.Write(v.rows[i].raw)
		w.WriteByte('\n')
	}
}

const (
	worstRows   = 10
	lettersSaid = 10
)

// table shows the worst windows.
func (v *shown) table(out io.Writer) {
	worst := slices.DeleteFunc(slices.Clone(v.rows), func(h row) bool { return h.Flights < int64(v.enough) })
	what := fmt.Sprintf("%s, of those with %d flights or more", v.title, v.enough)
	if len(worst) == 0 {
		worst, what = slices.Clone(v.rows), v.title
	}
	if len(worst) == 0 {
		return
	}
	slices.SortStableFunc(worst, func(a, b row) int {
		switch {
		case v.worst(&a, &b):
			return -1
		case v.worst(&b, &a):
			return 1
		}
		return 0
	})
	printf(out, "%s:\n\n", what)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	printf(w, "origin\t%s\tflights\tmean delay\tlongest\t\n", v.column)
	for _, h := range worst[:min(len(worst), worstRows)] {
		printf(w, "%s\t%s\t%d\t%.2f min\t%d min\t\n", h.Origin, v.span(&h), h.Flights, h.Mean, h.Max)
	}
	w.Flush() //nolint:errcheck // of the bufio.Writer below, whose own Flush says it
	printf(out, "\n")
}

// span shows when a window was, with its end where windows differ in length.
func (v *shown) span(h *row) string {
	const minute = "2006-01-02 15:04"
	if v.name == Sessions {
		return h.Start.Format(minute) + " to " + h.End.Format(minute)
	}
	return h.Start.Format(minute)
}

func (r *report) summary(v *shown, out io.Writer) {
	for i, l := range v.letters {
		if i == lettersSaid {
			printf(out, "dead-lettered: %s more\n", thousands(int64(len(v.letters)-i)))
			break
		}
		printf(out, "dead-lettered: %s:%s: %s\n", l.file, l.line, l.reason)
	}
	once := ", each window once"
	if v.extra > 0 {
		once = fmt.Sprintf(", of which %s are repeated", thousands(int64(v.extra)))
	}
	read, late, dead := thousands(r.rec.Loaded.Rows), thousands(v.late), thousands(int64(len(v.letters)))
	switch v.name {
	case Sliding:
		printf(out, "read %s, late %s, dead-lettered %s; the others are in windows, %s times in all\n", read, late, dead, thousands(v.counted))
	case Sessions:
		printf(out, "of %s read, more than %d minutes late: %s = in runs %s + late %s + dead-lettered %s\n",
			read, longDelay, thousands(r.long), thousands(v.counted), late, thousands(v.longLetters()))
	default:
		printf(out, "read %s = counted %s + late %s + dead-lettered %s\n", read, thousands(v.counted), late, dead)
	}
	printf(out, "results: %s%s\n", thousands(int64(len(v.rows))), once)
	printf(out, "delivery: %s\n", r.rec.Guarantee)
}
