package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	run     *regexp.Regexp
	side    *regexp.Regexp
	repeats int
	scale   float64
	pool    int
	dir     string
	cpu     string
	mem     string
}

func parse(args []string) (options, error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	pattern := fs.String("run", "", "only rows whose name matches this regular expression")
	side := fs.String("side", "", "only sides whose name matches this regular expression; for profiles")
	short := fs.Bool("short", false, "each once and small: that it works, not how fast")
	o := options{}
	fs.IntVar(&o.repeats, "repeats", 5, "how often each side runs")
	fs.Float64Var(&o.scale, "scale", 1, "times as many events")
	fs.IntVar(&o.pool, "pool", 2_000_000, "prepared events")
	fs.StringVar(&o.dir, "dir", "", "where databases go (default: the system's temporary directory)")
	fs.StringVar(&o.cpu, "cpuprofile", "", "write a CPU profile here")
	fs.StringVar(&o.mem, "memprofile", "", "write a profile of allocations here")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	if *short {
		o.repeats, o.scale, o.pool = 1, 0.005, 100_000
	}
	if o.repeats < 1 || o.scale <= 0 || o.pool < 10_000 {
		return o, fmt.Errorf("repeats is %d, scale %v and pool %d: want 1, more than 0 and 10,000 at least", o.repeats, o.scale, o.pool)
	}
	var err error
	if o.run, err = regexp.Compile(*pattern); err != nil {
		return o, err
	}
	o.side, err = regexp.Compile(*side)
	return o, err
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.cpu != "" {
		f, err := os.Create(o.cpu)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // a profile
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Printf("go run ./bench %s\n%s %s/%s, %d cores, %s\n", strings.Join(args, " "),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), time.Now().UTC().Format("2006-01-02 15:04 MST"))
	e := newEnv(o, os.Stdout)
	defer e.close()
	for _, r := range rows() {
		if !o.run.MatchString(r.name) {
			continue
		}
		if err := r.measure(e); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	if o.mem != "" {
		return writeAllocs(o.mem)
	}
	return nil
}

func writeAllocs(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC()
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
