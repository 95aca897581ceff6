package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
)

// Run is the command. Its error has the exit code, see [ExitError]; any other asks for
// [CodeFailed]. A ctx that ends lets it drain and say how to go on.
func Run(ctx context.Context, o Options, s Streams) error {
	if err := o.validate(); err != nil {
		return Refuse(err)
	}
	if o.Kill > 0 {
		return runKilled(ctx, o, s)
	}
	return run(ctx, o, s)
}

// errInterrupted is returned by a run that was told to end before its end.
var errInterrupted = errors.New("interrupted")

func run(ctx context.Context, o Options, s Streams) (err error) {
	in, rows, err := openInput(ctx, o, s)
	if err != nil {
		return Refuse(err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	temporary := o.DataDir == ""
	if temporary {
		if o.DataDir, err = os.MkdirTemp("", "pondage-demo-"); err != nil {
			return err
		}
	}
	remove := func() error {
		if temporary {
			return os.RemoveAll(o.DataDir)
		}
		return nil
	}
	st, err := openStore(ctx, o.DataDir, o, in.source)
	if err != nil {
		return errors.Join(Refuse(err), remove())
	}
	err = errors.Join(st.serve(ctx, o, s, rows), st.Close())
	if st.rec.finished() || o.Backend == Memory && temporary {
		err = errors.Join(err, remove())
	} else if err != nil {
		err = fmt.Errorf("%w; what was done is kept, go on with: %s", err, o.command())
	}
	if errors.Is(err, errInterrupted) {
		return &ExitError{CodeInterrupted, err}
	}
	return err
}

// openInput opens the input and reads its header, before anything is written. Of a run
// that needs no input any more it reads nothing: rows is nil.
func openInput(ctx context.Context, o Options, s Streams) (*input, *flights.Reader, error) {
	in, err := identify(o.Input, s.In)
	if err != nil {
		return nil, nil, err
	}
	rows, err := in.rows(ctx, o)
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, rows, nil
}

func (in *input) rows(ctx context.Context, o Options) (*flights.Reader, error) {
	if o.DataDir == "" {
		return in.header(ctx)
	}
	// Another process may have the folder open: it is read again once it is ours.
	rec, err := readRecord(o.DataDir)
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return in.header(ctx)
	}
	if err := rec.check(o.DataDir, o, in.source); err != nil || rec.Loaded != nil {
		return nil, err
	}
	return in.header(ctx)
}

// serve runs what is left to do, and prints what came out.
func (st *store) serve(ctx context.Context, o Options, s Streams, rows *flights.Reader) error {
	if !st.rec.finished() || o.Backend == Memory {
		if err := st.process(ctx, o, s, rows); err != nil {
			return err
		}
	}
	r, err := st.read()
	if err != nil {
		return err
	}
	if child() { // whoever runs it compares all, and says the rest
		err = r.printAll(s.Out)
	} else {
		err = r.print(o, s.Out, s.Err)
	}
	if err != nil {
		return err
	}
	return r.verdict()
}

// process loads and counts to the end.
func (st *store) process(ctx context.Context, o Options, s Streams, rows *flights.Reader) error {
	say := func(format string, args ...any) { printf(s.Err, "pondage: "+format+"\n", args...) }
	if err := st.prepare(say); err != nil {
		return err
	}
	t := newTracker(st.rec.Partitions)
	if st.used && o.Backend == Pebble {
		say("%s was begun before: going on where it was", st.dir)
	}
	total := int64(0)
	if st.rec.Input.Kind == builtIn {
		total = flights.WeekRows
	}
	shown := startProgress(st, t, s, total)
	p, err := newPipeline(st, t, shown)
	if err == nil {
		var l *loader
		if rows != nil {
			l = &loader{log: st.log, in: st.rec.Input, n: st.rec.Partitions, rows: rows, pace: &pace{perSecond: o.Rate}}
		}
		err = p.run(ctx, l)
	}
	shown.stop()
	if err == nil && t.ended.Err() == nil {
		err = errInterrupted
	}
	if err != nil {
		return err
	}
	shown.sayHowFast()
	st.rec.Guarantee = p.proc.Guarantee().String()
	return st.rec.write(st.dir)
}

func (p *progress) sayHowFast() {
	elapsed := time.Since(p.start)
	rows, _ := p.track.counts()
	text := fmt.Sprintf("%s flights in %.2f s, %s/s", thousands(rows), elapsed.Seconds(), thousands(int64(float64(rows)/elapsed.Seconds())))
	if p.first > 0 {
		text += fmt.Sprintf(", the first result after %.2f s", p.first.Seconds())
	}
	p.say("%s", text)
}

// command is the command line of o.
func (o Options) command() string {
	args := []string{"pondage"}
	for _, a := range o.args() {
		args = append(args, quoted(a))
	}
	return strings.Join(args, " ")
}

// args are the arguments that give o, less those that have their defaults.
func (o Options) args() []string {
	args := []string{"demo", "--data-dir", o.DataDir}
	if o.Input != "" {
		args = append(args, "--input", o.Input)
	}
	args = append(args, "--partitions", strconv.Itoa(o.Partitions), "--max-delay", o.MaxDelay.String(), "--backend", o.Backend, "--output", o.Output)
	if o.Show != Tumbling {
		args = append(args, "--show", o.Show)
	}
	if o.Rate > 0 {
		args = append(args, "--rate", strconv.FormatFloat(o.Rate, 'g', -1, 64))
	}
	return args
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// quoted is s as a word of a shell.
func quoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
