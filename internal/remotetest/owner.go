package remotetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/stateful"
)

// ownerVariable makes the test's binary the other owner: where its backend is.
const ownerVariable = "PONDAGE_TEST_OWNER"

// OwnerAt returns what [SuspendedOwner] was given, in the process that it started.
func OwnerAt() (where string, ok bool) { return os.LookupEnv(ownerVariable) }

// Owner commits to [Task] until it is fenced, and says so on stdout.
func Owner(b stateful.Backend) {
	ctx := context.Background()
	s, head, err := b.Open(ctx, Task)
	for seq := head.Seq + 1; err == nil; seq++ {
		c := stateful.Commit{Seq: seq, Token: seq, Writes: []stateful.Write{{Key: "owner", Value: []byte("the first")}}}
		if err = s.Submit(ctx, c).Wait(ctx); errors.Is(err, stateful.ErrFenced) {
			_, getErr := s.Get(ctx, "owner")
			fmt.Printf("\nfenced at %d, reads too: %t\n", seq, errors.Is(getErr, stateful.ErrFenced) && errors.Is(scanErr(s), stateful.ErrFenced))
			return
		}
		if err == nil {
			fmt.Printf("\ncommitted %d\n", seq)
		}
	}
	fmt.Printf("\nfailed: %v\n", err)
}

func scanErr(s stateful.Store) error {
	for _, err := range s.Scan(context.Background(), "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}

// SuspendedOwner checks that an owner that sleeps through the rise of another cannot write when it
// wakes up. It runs test, of the same binary, as a process that must call [Owner] for the backend at
// where; b is that backend in this process.
func SuspendedOwner(t *testing.T, test, where string, b stateful.Backend) {
	cmd := exec.Command(os.Args[0], "-test.run", "^"+test+"$")
	cmd.Env = append(os.Environ(), ownerVariable+"="+where)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	next := func() string {
		for lines.Scan() {
			if text := lines.Text(); text != "" {
				return text
			}
		}
		t.Fatal("the owner ended")
		return ""
	}
	for range 20 {
		if text := next(); !strings.HasPrefix(text, "committed") {
			t.Fatal(text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitStopped(t, cmd.Process.Pid)

	ctx := context.Background()
	s, head, err := b.Open(ctx, Task)
	if err != nil || head.Epoch != 2 || head.Seq < 20 {
		t.Fatalf("the head is %+v, %v", head, err)
	}
	commit := func(seq uint64) {
		t.Helper()
		c := stateful.Commit{Seq: seq, Token: seq, Writes: []stateful.Write{{Key: "owner", Value: []byte("the second")}}}
		if err := s.Submit(ctx, c).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	commit(head.Seq + 1)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	text := next()
	for strings.HasPrefix(text, "committed") { // written before it slept, or its answer was on its way
		var seq uint64
		if _, err := fmt.Sscanf(text, "committed %d", &seq); err != nil || seq > head.Seq {
			t.Fatalf("it says %q after another took over at %d", text, head.Seq)
		}
		text = next()
	}
	if !strings.HasPrefix(text, "fenced at ") || !strings.HasSuffix(text, "reads too: true") {
		t.Errorf("it says %q", text)
	}
	if v, err := s.Get(ctx, "owner"); err != nil || string(v[0]) != "the second" {
		t.Errorf("owner = %q, %v", v, err)
	}
	commit(head.Seq + 2)
}

func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	for range 5000 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, after, _ := strings.Cut(string(b), ") "); strings.HasPrefix(after, "T") {
			return
		}
		_ = clock.Sleep(context.Background(), time.Millisecond)
	}
	t.Fatal("it does not stop")
}
