package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// childEnv tells a process that it is run by --kill, and wants to know how far it is.
const (
	childEnv      = "PONDAGE_DEMO_CHILD"
	childProgress = "processed "
)

func child() bool { return os.Getenv(childEnv) != "" }

// killer runs the demo as a child process again and again.
type killer struct {
	program string
	o       Options
	s       Streams
}

// runKilled runs the demo undisturbed in a folder of its own, then in the one asked for,
// killed o.Kill times at random moments, and compares what came out.
func runKilled(ctx context.Context, o Options, s Streams) (err error) {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "pondage-kill-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if o.Input == stdin {
		if o.Input, err = spool(filepath.Join(tmp, "standard-input"), s.In); err != nil {
			return err
		}
	}
	in, _, err := openInput(ctx, o, s) // refused here, before anything is run
	if err != nil {
		return Refuse(err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if in.Kind == stream {
		return Refuse(fmt.Errorf("--kill reads the input several times, and %s can be read only once: give a file", in.Name))
	}
	k := &killer{program: program, o: o, s: s}
	if o.DataDir == "" {
		k.o.DataDir = filepath.Join(tmp, "killed")
	}
	if rec, err := readRecord(k.o.DataDir); err != nil {
		return Refuse(err)
	} else if rec != nil && rec.finished() && o.Backend == Pebble {
		k.say("%s is finished: there is nothing left to kill", k.o.DataDir)
		return run(ctx, k.o, s)
	}
	return k.compare(ctx, filepath.Join(tmp, "undisturbed"))
}

// spool keeps what can be read only once.
func spool(name string, in io.Reader) (string, error) {
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, in)
	return name, errors.Join(err, f.Close())
}

func (k *killer) say(format string, args ...any) {
	printf(k.s.Err, "pondage: "+format+"\n", args...)
}

func (k *killer) compare(ctx context.Context, undisturbed string) error {
	o := k.o
	o.DataDir = undisturbed
	k.say("an undisturbed run comes first, in a folder of its own")
	began := time.Now()
	want, err := k.child(ctx, o, "undisturbed", 0)
	if err != nil {
		return err
	}
	took := time.Since(began)
	killed, done := 0, int64(0)
	for n := 1; n <= k.o.Kill; n++ {
		after := k.moment(took, k.o.Kill-n, done, want.done)
		out, err := k.child(ctx, k.o, fmt.Sprint("run ", n), after)
		if err != nil {
			return err
		}
		if !out.killed {
			k.say("run %d ended before its kill, due after %.3f s", n, after.Seconds())
			break
		}
		killed, done = killed+1, max(done, out.done)
		k.say("run %d killed after %.3f s, with %s flights done", n, after.Seconds(), thousands(done))
	}
	got, err := k.child(ctx, k.o, "last run", 0)
	if err != nil {
		return err
	}
	if !bytes.Equal(got.stdout, want.stdout) {
		return fmt.Errorf("after %d kills the results are not those of the undisturbed run: %s", killed, difference(got.stdout, want.stdout))
	}
	k.say("killed %d times: the %s results of all kinds are the same as those of the undisturbed run, each window once",
		killed, thousands(int64(bytes.Count(got.stdout, []byte{'\n'}))))
	return k.printFinished(ctx)
}

// moment returns after how long a run that takes that long is killed: at random, and so
// that it mostly finds the runs that follow at work, too. left is how many kills follow; done of all rows
// are.
func (k *killer) moment(took time.Duration, left int, done, all int64) time.Duration {
	share := 0.8
	if left > 0 {
		share = 1.6 / float64(left+1)
	}
	rest := float64(took) * max(1-float64(done)/float64(max(all, 1)), 0.01)
	return time.Duration(rand.Float64() * share * rest)
}

// printFinished prints what the killed runs left behind.
func (k *killer) printFinished(ctx context.Context) error {
	in, _, err := openInput(ctx, k.o, k.s)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, k.o.DataDir, k.o, in.source)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	r, err := st.read()
	if err == nil {
		if err = r.print(k.o, k.s.Out, k.s.Err); err == nil {
			err = r.verdict()
		}
	}
	return errors.Join(err, st.Close(), in.Close())
}

// outcome is how a child ended.
type outcome struct {
	stdout []byte
	killed bool
	done   int64 // rows processed, by it and those before, as last heard
}

// child runs o, and kills it after a while when that is not 0. What it says is passed on.
func (k *killer) child(ctx context.Context, o Options, name string, after time.Duration) (outcome, error) {
	o.Output = JSON
	cmd := exec.CommandContext(ctx, k.program, o.args()...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	// An interrupted parent lets it drain.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 40 * time.Second
	var stdout bytes.Buffer
	notes := &prefixed{out: k.s.Err, prefix: name + ": "}
	cmd.Stdout, cmd.Stderr = &stdout, notes
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	ended := make(chan struct{})
	waiting := make(chan bool)
	go func() { waiting <- killAfter(cmd, after, ended) }()
	err := cmd.Wait()
	close(ended)
	killed := <-waiting
	notes.flush()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return outcome{}, &ExitError{CodeInterrupted, fmt.Errorf("interrupted; go on without --kill: %s", k.o.command())}
	case killed && errors.As(err, &exit) && !exit.Exited():
		return outcome{killed: true, done: notes.done}, nil
	case errors.As(err, &exit) && exit.ExitCode() == CodeFailed && stdout.Len() > 0:
		// An input that is cut off: what it says is said again at the end.
	case err != nil:
		return outcome{}, fmt.Errorf("%s: %w", name, err)
	}
	return outcome{stdout: stdout.Bytes(), done: notes.done}, nil
}

// killAfter reports whether it killed cmd before it ended.
func killAfter(cmd *exec.Cmd, after time.Duration, ended <-chan struct{}) bool {
	if after == 0 {
		<-ended
		return false
	}
	t := time.NewTimer(after)
	defer t.Stop()
	select {
	case <-t.C:
		return cmd.Process.Kill() == nil
	case <-ended:
		return false
	}
}

// prefixed says in front of each line whose it is, and keeps what is meant for the parent.
type prefixed struct {
	out    io.Writer
	prefix string
	rest   []byte
	done   int64
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		if n, ok := bytes.CutPrefix(line, []byte(childProgress)); ok {
			p.done, _ = strconv.ParseInt(string(n), 10, 64)
		} else {
			printf(p.out, "  %s%s\n", p.prefix, bytes.TrimPrefix(line, []byte("pondage: ")))
		}
		p.rest = append(p.rest[:0], rest...)
	}
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		p.Write([]byte{'\n'}) //nolint:errcheck // it never fails
	}
}

// difference names the first line that differs.
func difference(got, want []byte) string {
	g, w := strings.SplitAfter(string(got), "\n"), strings.SplitAfter(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, strings.TrimSpace(g[i]), strings.TrimSpace(w[i]))
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g)-1, len(w)-1)
}
