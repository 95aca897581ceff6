package main_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const weekRows = 113_493

func TestTheWholeWeekIsCountedExactly(t *testing.T) {
	for _, tt := range []struct {
		partitions int
		delay      time.Duration
		more       []string
	}{
		{4, 2 * time.Hour, nil},
		{1, 2 * time.Hour, nil},
		{7, 20 * time.Minute, nil},
		{3, 0, []string{"--backend", "memory"}},
	} {
		t.Run(fmt.Sprintf("partitions=%d delay=%s %s", tt.partitions, tt.delay, tt.more), func(t *testing.T) {
			began, dir := time.Now(), folder(t)
			r := demo(t, append(tt.more, "--data-dir", dir, "--output", "json", "--partitions", strconv.Itoa(tt.partitions), "--max-delay", tt.delay.String())...).ok(t)
			t.Logf("%v\n%s", time.Since(began), r.stderr)
			want, late := expected(t, week(), tt.partitions, tt.delay)
			compare(t, r.stdout, want)
			if late == 0 || !strings.Contains(r.stderr, account(weekRows, weekRows-late, late, 0)) {
				t.Errorf("late should be %d:\n%s", late, r.stderr)
			}
			checkViews(t, dir, week(), tt.partitions, tt.delay, tt.more...)
		})
	}
}

// With a bound that leaves nothing late, the number of partitions changes nothing.
func TestPartitionsAndBackendsGiveTheSame(t *testing.T) {
	first := demo(t, "--output", "json", "--max-delay", "48h").ok(t).stdout
	if n := counted(t, first); n != weekRows {
		t.Fatalf("%d flights counted, want all", n)
	}
	for _, args := range [][]string{{"--partitions", "1"}, {"--partitions", "9", "--backend", "memory"}} {
		if again := demo(t, append(args, "--output", "json", "--max-delay", "48h")...).ok(t).stdout; again != first {
			t.Errorf("%v gives another output", args)
		}
	}
}

func TestATableEndsWithTheAccount(t *testing.T) {
	r := demo(t).ok(t)
	for _, want := range []string{"The worst hours", "origin", "EWR", account(weekRows, 111860, 1633, 0), "each window once", "delivery: exactly once"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, r.stdout)
		}
	}
}

func TestAFinishedFolderOnlyPrints(t *testing.T) {
	dir := folder(t)
	first := demo(t, "--data-dir", dir, "--output", "json").ok(t)
	again := demo(t, "--data-dir", dir, "--output", "json").ok(t)
	if again.stdout != first.stdout {
		t.Error("it prints something else")
	}
	if strings.Contains(again.stderr, "flights in") {
		t.Errorf("it ran again:\n%s", again.stderr)
	}
	demo(t, "--data-dir", dir, "--kill", "2").ok(t).is(t, 0, "nothing left to kill")
}

func TestInterruptedItDrainsAndGoesOn(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := folder(t)
			cmd, stdout, stderr := command(t, "--data-dir", dir, "--output", "json", "--rate", "30000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			awaitFolder(t, dir)
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			r := ended(t, cmd.Wait(), stdout, stderr)
			r.is(t, 130, "interrupted", "go on with: pondage demo --data-dir "+dir)
			if r.stdout != "" {
				t.Error("it prints results that are not final")
			}
			want, _ := expected(t, week(), 4, 2*time.Hour)
			compare(t, demo(t, "--data-dir", dir, "--output", "json", "--show", "tumbling").ok(t).stdout, want)
			checkViews(t, dir, week(), 4, 2*time.Hour)
		})
	}
}

// awaitFolder returns once a run has begun its folder.
func awaitFolder(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(dir + "/demo.json"); err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("it does not begin")
		}
	}
}

func TestKilledAndComparedWithAnUndisturbedRun(t *testing.T) {
	want, late := expected(t, week(), 4, 2*time.Hour)
	for _, backend := range []string{"pebble", "memory"} {
		t.Run(backend, func(t *testing.T) {
			dir := folder(t)
			r := demo(t, "--kill", "3", "--backend", backend, "--data-dir", dir, "--output", "json").ok(t)
			t.Log(r.stderr)
			r.is(t, 0, "run 1 killed after", "the same as those of the undisturbed run", account(weekRows, weekRows-late, late, 0))
			if backend == "memory" {
				r.is(t, 0, "incarnation")
			}
			compare(t, r.stdout, want)
			checkViews(t, dir, week(), 4, 2*time.Hour, "--backend", backend)
		})
	}
	t.Run("sessions of standard input", func(t *testing.T) {
		want, _ := expectedSessions(t, some(), 4, 2*time.Hour)
		r := demoFed(t, bytes.NewReader(some()), "--kill", "1", "--input", "-", "--output", "json", "--show", "sessions").ok(t)
		compare(t, r.stdout, want)
	})
	t.Run("standard input", func(t *testing.T) {
		r := demoFed(t, strings.NewReader(string(week())), "--kill", "1", "--input", "-", "--output", "json").ok(t)
		compare(t, r.stdout, want)
	})
}

// The plainest kill: by hand, again and again, at growing moments.
func TestKilledByHandItGoesOnWhereItWas(t *testing.T) {
	dir := folder(t)
	for i := range 6 {
		cmd, stdout, stderr := command(t, "--data-dir", dir, "--output", "json", "--rate", "40000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(30+i*90)*time.Millisecond, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		if cmd.ProcessState.Exited() {
			ended(t, err, stdout, stderr).ok(t)
		}
	}
	r := demo(t, "--data-dir", dir, "--output", "json").ok(t)
	want, late := expected(t, week(), 4, 2*time.Hour)
	compare(t, r.stdout, want)
	r.is(t, 0, account(weekRows, weekRows-late, late, 0))
	checkViews(t, dir, week(), 4, 2*time.Hour)
}

func TestMemoryBeginsAgainWithEmptyOutputs(t *testing.T) {
	dir := folder(t)
	want, late := expected(t, week(), 4, 2*time.Hour)
	first := demo(t, "--data-dir", dir, "--output", "json").ok(t)
	compare(t, first.stdout, want)
	for n := 2; n < 4; n++ {
		r := demo(t, "--data-dir", dir, "--backend", "memory", "--output", "json").ok(t)
		r.is(t, 0, fmt.Sprintf("incarnation %d begins", n), account(weekRows, weekRows-late, late, 0), "delivery: at least once")
		compare(t, r.stdout, want)
	}
	demo(t, "--data-dir", dir).is(t, 2, "--backend is pebble", "memory", "another --data-dir")
}

func TestRateHoldsItBack(t *testing.T) {
	input := write(t, "few.csv", rows(strings.Split(strings.Repeat("2001-01-01T10:00:00Z,5,100,JFK,LAX\n", 400), "\n")[:400]...))
	began := time.Now()
	demo(t, "--input", input, "--rate", "400").ok(t).is(t, 0)
	if took := time.Since(began); took < 800*time.Millisecond {
		t.Errorf("400 rows at 400 per second took %v", took)
	}
}
