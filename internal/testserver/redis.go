package testserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RedisAddrVariable names the environment variable with the host:port of a Redis to use instead of one
// of our own. Tests keep to keys of their own in it.
const RedisAddrVariable = "TEST_REDIS_ADDR"

// StartRedis starts a redis-server outside of a test, with its data in dir; see [NewRedis]. Kill ends it.
func StartRedis(dir string, args ...string) (*Redis, error) { return startRedis(dir, freePort, args) }

// Redis is a redis-server of its own.
type Redis struct {
	Addr string
	p    process
	tb   TB
}

// NewRedis starts a redis-server, whose configuration args add to or override: nothing is kept on
// disk unless they say so. It ends with the test.
func NewRedis(tb TB, args ...string) *Redis {
	tb.Helper()
	return newRedis(tb, freePort, args)
}

func newRedis(tb TB, port func() (int, error), args []string) *Redis {
	tb.Helper()
	r, err := startRedis(tb.TempDir(), port, args)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	r.tb = tb
	tb.Cleanup(r.p.kill)
	return r
}

func startRedis(dir string, pick func() (int, error), args []string) (*Redis, error) {
	path, err := program("redis-server", "redis-server", RedisAddrVariable)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		port, err := pick()
		if err != nil {
			return nil, err
		}
		r := &Redis{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		r.p = process{path: path, dir: dir, ready: func() error { return pingRedis(r.Addr) }, args: append([]string{
			"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		}, args...)}
		if err = r.p.start(); err == nil {
			return r, nil
		}
		if try == 2 {
			return nil, err
		}
	}
}

// pingRedis returns nil once the server takes commands; one that wants a password does.
func pingRedis(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the answer is here
	answer, err := askRedis(c, "PING")
	if err != nil || answer == "PONG" || strings.HasPrefix(answer, "NOAUTH") {
		return err
	}
	return fmt.Errorf("%s answers %s", addr, answer)
}

// askRedis sends a command and returns the one line, or string, that comes back; of an array the first.
func askRedis(c net.Conn, command string) (string, error) {
	if err := c.SetDeadline(deadline(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err == nil && line == "*0\r\n" {
		return "", nil
	}
	if err == nil && line[0] == '*' {
		line, err = r.ReadString('\n')
	}
	if err != nil {
		return "", err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(line[1:])); line[0] == '$' && err == nil && n >= 0 {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return string(b), err
	}
	return strings.TrimSpace(line[1:]), nil
}

// Do sends a command, whose words have no spaces, and returns the string, number or status that comes back;
// of an array the first.
func (r *Redis) Do(command string) string {
	r.tb.Helper()
	answer, err := askOnce(r.Addr, command)
	if err != nil {
		r.tb.Fatalf("%s: %v", command, err)
	}
	return answer
}

func askOnce(addr, command string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close() //nolint:errcheck // the answer is here
	return askRedis(c, command)
}

// Kill ends the server as kill -9 does.
func (r *Redis) Kill() { r.p.kill() }

// Start starts the server again, on the same port and the same data.
func (r *Redis) Start() {
	r.tb.Helper()
	if err := r.p.start(); err != nil {
		r.tb.Fatalf("%v", err)
	}
}

// Suspend stops the server without ending it; Resume lets it go on.
func (r *Redis) Suspend() { r.p.signal(syscall.SIGSTOP) }

// Resume lets a suspended server go on.
func (r *Redis) Resume() { r.p.signal(syscall.SIGCONT) }

var shared struct {
	mu   sync.Mutex
	addr string
	r    *Redis
	dir  string

	dsn      string
	postgres *Postgres
}

// SharedRedis returns the address of a server for all tests of a package, which keep to
// keys of their own: the one in TEST_REDIS_ADDR, or one that is started with the first call.
// TestMain must call StopShared.
func SharedRedis(tb TB) string {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.addr != "" {
		return shared.addr
	}
	if addr := os.Getenv(RedisAddrVariable); addr != "" {
		if err := pingRedis(addr); err != nil {
			tb.Fatalf("%s: %v", RedisAddrVariable, err)
		}
		shared.addr = addr
		return addr
	}
	dir, err := os.MkdirTemp("", "pondage-redis-")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	r, err := startRedis(dir, freePort, nil)
	if err != nil {
		_ = os.RemoveAll(dir)
		tb.Fatalf("%v", err)
	}
	shared.addr, shared.r, shared.dir = r.Addr, r, dir
	return shared.addr
}

// StopShared ends what all tests of a package shared.
func StopShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.r != nil {
		shared.r.p.kill()
		_ = os.RemoveAll(shared.dir)
	}
	shared.addr, shared.r, shared.dir = "", nil, ""
	if shared.postgres != nil {
		shared.postgres.Stop()
	}
	shared.dsn, shared.postgres = "", nil
}
