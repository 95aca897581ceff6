package verify_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/verify"
)

var workerPath string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "verify")
		if err == nil {
			defer os.RemoveAll(dir)
			workerPath = filepath.Join(dir, "worker.exe")
			out, fault := exec.Command("go", "build", "-o", workerPath, "./worker").CombinedOutput()
			if fault != nil {
				err = fmt.Errorf("%w\n%s", fault, out)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "build the worker:", err)
			return 1
		}
		return m.Run()
	}())
}

// killing says when a worker dies.
type killing struct {
	after     time.Duration
	fromReady bool // since it has opened its folder, not since it was started
}

// life runs a worker and reports whether it came to its end; otherwise it was killed. When it fails by
// itself, refused is why.
func life(t *testing.T, l verify.Life, k *killing) (ended bool, refused error) {
	t.Helper()
	c, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, workerPath, string(c))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := make(chan bool, 1)
	over := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		bufio.NewReader(stdout).ReadString('\n')
	}()
	go func() {
		if k == nil {
			killed <- false
			return
		}
		if k.fromReady {
			<-ready
		}
		after := time.NewTimer(k.after)
		defer after.Stop()
		select {
		case <-after.C:
			killed <- cmd.Process.Kill() == nil
		case <-over:
			killed <- false
		}
	}()
	<-ready // Wait closes the pipe
	err = cmd.Wait()
	close(over)
	if stderr.Len() > 0 {
		t.Logf("the worker says\n%s", stderr.Bytes())
	}
	if err == nil {
		return true, nil
	}
	var exit *exec.ExitError
	if <-killed && errors.As(err, &exit) && !exit.Exited() {
		return false, nil
	}
	return false, fmt.Errorf("%+v: the worker failed: %w\n%s", l, err, stderr.Bytes())
}
