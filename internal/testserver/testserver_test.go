package testserver

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A server must not outlive the test's process, however that ends: a child that dies by a
// signal leaves none.
func TestServersEndWithTheProcess(t *testing.T) {
	if dir := os.Getenv("PONDAGE_TEST_CHILD"); dir != "" {
		r, err := startRedis(dir, freePort, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("addr=" + r.Addr + "\n"); err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Kill()
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServersEndWithTheProcess$")
	cmd.Env = append(os.Environ(), "PONDAGE_TEST_CHILD="+t.TempDir())
	out, err := cmd.Output()
	if err == nil {
		t.Fatal("the child ended by itself")
	}
	_, addr, _ := strings.Cut(strings.TrimSpace(string(out)), "addr=")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatalf("the child said %q", out)
	}
	for { // the system ends it at once, but not before the child
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		// It may still be up: then this ends with it.
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
	}
}

func TestAServerThatIsMissingSaysWhatToDo(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := program("no-such-server", "no-such-package", RedisAddrVariable)
	for _, want := range []string{"make servers", "no-such-package", RedisAddrVariable} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

func TestRedisKeepsItsPortThroughARestart(t *testing.T) {
	r := NewRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	for n := 1; n < 4; n++ {
		if got := r.Do("INCR n"); got != strconv.Itoa(n) {
			t.Errorf("n is %s, want %d", got, n)
		}
		r.Kill()
		r.Start()
	}
}
