package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/pondage/pondage/internal/clock"
)

// startsWithin is how long a server may take until it answers, on a busy machine.
const startsWithin = 30 * time.Second

// process is a server's process. It is not for use by several goroutines.
type process struct {
	path string
	args []string
	dir  string
	user *syscall.Credential // nil: this process's
	// ready returns nil once the server answers.
	ready func() error

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs the program and waits until it answers.
func (p *process) start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, log, log
	p.cmd.SysProcAttr = endsWithParent()
	p.cmd.SysProcAttr.Credential = p.user
	p.done = make(chan struct{})
	started := make(chan error)
	go func() {
		// The system ends the child with the thread that started it, so the thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer log.Close() //nolint:errcheck // only its own output is lost
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startsWithin)
	defer cancel()
	for {
		err := p.ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at once:\n%s", p.path, p.tail())
		default:
		}
		if clock.Sleep(ctx, 5*time.Millisecond) != nil {
			p.kill()
			return fmt.Errorf("%s does not answer within %v: %w\n%s", p.path, startsWithin, err, p.tail())
		}
	}
}

// tail returns the last of what the process wrote.
func (p *process) tail() []byte {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(b[max(0, len(b)-2000):])
}

// kill ends the process as kill -9 does, and waits until it has ended.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// freePort returns a port of the loopback interface that nobody listens on. Another
// process may take it before it is used: then the server that was to have it does not start.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().(*net.TCPAddr).Port, nil
}

// FreePort returns a port of the loopback interface that nobody listens on.
func FreePort(tb TB) int {
	tb.Helper()
	port, err := freePort()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return port
}

// program finds an installed program, or says how to get it.
func program(name, pkg, variable string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/bin"} { // not in every user's PATH
		path = filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
	}
	return "", errors.Join(fmt.Errorf("this test needs the program %s: run `make servers`, or install the package %s", name, pkg), hint(variable))
}

func hint(variable string) error {
	if variable == "" {
		return nil
	}
	return fmt.Errorf("or name a server that runs in %s", variable)
}
