package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pondage/pondage/internal/clock"
)

// PostgresDSNVariable names the environment variable with the DSN of a PostgreSQL to use instead of one of our own. Tests
// keep to schemas of their own in it.
const PostgresDSNVariable = "TEST_POSTGRES_DSN"

// postgresPassword is that of our servers' only user, so that no test depends on there being none.
const postgresPassword = "pondage-secret"

// Postgres is a PostgreSQL server of its own.
type Postgres struct {
	// Addr is its host:port, and DSN how to connect to it.
	Addr, DSN string
	// Dir has its data in the folder data. It belongs to the user who runs the server.
	Dir string

	p    process
	user *syscall.Credential
	tb   TB
}

// NewPostgres starts a server, with settings (name=value) over its defaults. It ends with the test.
func NewPostgres(tb TB, settings ...string) *Postgres {
	tb.Helper()
	s, err := startPostgres(settings...)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	s.tb = tb
	tb.Cleanup(s.Stop)
	return s
}

// PostgresDSN returns that of the server at addr, be it a proxy in front of one of ours.
func PostgresDSN(addr string) string {
	return "postgres://pondage:" + postgresPassword + "@" + addr + "/postgres?sslmode=disable"
}

// StartPostgres starts a server outside of a test; see [NewPostgres]. Stop ends it.
func StartPostgres(settings ...string) (*Postgres, error) { return startPostgres(settings...) }

func startPostgres(settings ...string) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	// Not the test's own folder, which no other user may enter.
	dir, err := os.MkdirTemp("", "pondage-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Postgres{Dir: dir}
	if err := s.init(bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for try := 0; ; try++ {
		port, err := freePort()
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		s.DSN = PostgresDSN(s.Addr)
		args := []string{
			"-D", filepath.Join(dir, "data"), "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-c", "unix_socket_directories=",
			"-c", "dynamic_shared_memory_type=mmap", // in its folder: a server that is killed leaves nothing else behind
		}
		for _, setting := range settings {
			args = append(args, "-c", setting)
		}
		s.p = process{path: filepath.Join(bin, "postgres"), dir: dir, args: args, user: s.user, ready: s.ping}
		if err = s.p.start(); err == nil {
			return s, nil
		}
		if try == 2 {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
}

// init makes an empty database. PostgreSQL runs as anybody but root.
func (s *Postgres) init(bin string) error {
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			u, err = user.Lookup("nobody")
		}
		if err != nil {
			return fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody: %w", err)
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(s.Dir, int(uid), int(gid))); err != nil {
			return err
		}
		s.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	password := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(password, []byte(postgresPassword+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(s.Dir, "data"), "-U", "pondage", "--pwfile", password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = s.Dir
	cmd.SysProcAttr = endsWithParent()
	cmd.SysProcAttr.Credential = s.user
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Postgres) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := pgconn.Connect(ctx, s.DSN)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// postgresBin returns the folder of the newest PostgreSQL that is installed.
func postgresBin() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(path), nil
	}
	var newest string
	best := 0.0
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	for _, path := range found {
		version := filepath.Base(filepath.Dir(filepath.Dir(path)))
		if n, err := strconv.ParseFloat(version, 64); err == nil && n > best {
			best, newest = n, filepath.Dir(path)
		}
	}
	if newest == "" {
		_, missing := program("postgres", "postgresql", PostgresDSNVariable)
		return "", errors.Join(missing, err)
	}
	return newest, nil
}

// Exec runs a statement as the server's superuser.
func (s *Postgres) Exec(sql string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startsWithin)
	defer cancel()
	c, err := pgconn.Connect(ctx, s.DSN)
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	defer c.Close(ctx) //nolint:errcheck // the answer is here
	if err := c.Exec(ctx, sql).Close(); err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
}

// WriteData writes a file that only the server may read into its data.
func (s *Postgres) WriteData(name string, data []byte) {
	s.tb.Helper()
	path := filepath.Join(s.Dir, "data", name)
	err := os.WriteFile(path, data, 0o600)
	if err == nil && s.user != nil {
		err = os.Chown(path, int(s.user.Uid), int(s.user.Gid))
	}
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
}

// SmallDisk makes a file system of some bytes for the server to write to, until the test ends, and returns
// where it is. It returns an error where this process may not.
func (s *Postgres) SmallDisk(bytes int) (string, error) {
	s.tb.Helper()
	dir := filepath.Join(s.Dir, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	if err := mountMemory(dir, bytes, s.user); err != nil {
		return "", err
	}
	s.tb.Cleanup(func() {
		s.p.kill() // what it has open there
		for range 1000 {
			if unmount(dir) == nil {
				return
			}
			_ = clock.Sleep(context.Background(), 10*time.Millisecond)
		}
		s.tb.Fatalf("%s stays mounted", dir)
	})
	return dir, nil
}

// Kill ends the server as kill -9 does. Its sessions end by themselves as soon as they notice.
func (s *Postgres) Kill() { s.p.kill() }

// Start starts the server again, on the same port and the same data.
func (s *Postgres) Start() {
	s.tb.Helper()
	for try := 1; ; try++ {
		err := s.p.start()
		if err == nil {
			return
		}
		if try == 20 { // it may have to wait for a session of the one that was killed
			s.tb.Fatalf("%v", err)
		}
	}
}

// Suspend stops the server's main process without ending it, so that it takes no new session; Resume lets it go on.
func (s *Postgres) Suspend() { s.p.signal(syscall.SIGSTOP) }

// Resume lets a suspended server go on.
func (s *Postgres) Resume() { s.p.signal(syscall.SIGCONT) }

// Stop ends the server and removes its data.
func (s *Postgres) Stop() {
	s.p.kill()
	_ = os.RemoveAll(s.Dir)
}

// SharedPostgres returns the DSN of a server for all tests of a package, which keep to schemas of
// their own: the one in TEST_POSTGRES_DSN, or one that is started with the first call. TestMain must
// call StopShared.
func SharedPostgres(tb TB) string {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.dsn != "" {
		return shared.dsn
	}
	if dsn := os.Getenv(PostgresDSNVariable); dsn != "" {
		s := &Postgres{DSN: dsn}
		if err := s.ping(); err != nil {
			tb.Fatalf("%s: %v", PostgresDSNVariable, err)
		}
		shared.dsn = dsn
		return dsn
	}
	s, err := startPostgres()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	shared.dsn, shared.postgres = s.DSN, s
	return shared.dsn
}
