package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the command as a user has it.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "pondage")
		if err == nil {
			defer os.RemoveAll(dir)
			program = filepath.Join(dir, "pondage.exe")
			out, fault := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
			if fault != nil {
				err = fmt.Errorf("%w\n%s", fault, out)
			}
			// Folders that it makes by itself go here, too.
			os.Setenv("TMPDIR", dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "build the command:", err)
			return 1
		}
		return m.Run()
	}())
}

// result is how one call of the command ended.
type result struct {
	stdout, stderr string
	code           int
}

func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, append([]string{"demo"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func ended(t *testing.T, err error, stdout, stderr *bytes.Buffer) result {
	t.Helper()
	r := result{stdout.String(), stderr.String(), 0}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(r.stderr, "panic:") || strings.Contains(r.stderr, "goroutine ") {
		t.Fatalf("it panicked:\n%s", r.stderr)
	}
	return r
}

// demo runs the command, fed with in.
func demoFed(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	cmd, stdout, stderr := command(t, args...)
	cmd.Stdin = in
	return ended(t, cmd.Run(), stdout, stderr)
}

func demo(t *testing.T, args ...string) result {
	t.Helper()
	return demoFed(t, nil, args...)
}

// ok requires exit code 0.
func (r result) ok(t *testing.T) result {
	t.Helper()
	return r.is(t, 0)
}

// is requires the exit code, and that these words are on standard error.
func (r result) is(t *testing.T, code int, words ...string) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("standard error lacks %q:\n%s", w, r.stderr)
		}
	}
	return r
}

// write makes a file.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func folder(t *testing.T) string { return filepath.Join(t.TempDir(), "data") }
