package testserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// PgBouncer is a pooler in front of a [Postgres] that gives each transaction another session.
type PgBouncer struct {
	// DSN is how to connect to it.
	DSN string
}

// NewPgBouncer starts a pooler with few sessions in front of s. It ends with the test.
func NewPgBouncer(tb TB, s *Postgres) *PgBouncer {
	tb.Helper()
	b, err := startPgBouncer(tb, s)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return b
}

func startPgBouncer(tb TB, s *Postgres) (*PgBouncer, error) {
	path, err := program("pgbouncer", "pgbouncer", "")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pondage-pgbouncer-")
	if err != nil {
		return nil, err
	}
	b, p, err := runPgBouncer(path, dir, s)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	tb.Cleanup(func() {
		p.kill()
		_ = os.RemoveAll(dir)
	})
	return b, nil
}

func runPgBouncer(path, dir string, s *Postgres) (*PgBouncer, *process, error) {
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	host, serverPort, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, nil, err
	}
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "config")
	text := fmt.Sprintf("[databases]\npostgres = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\n"+
		"auth_type = scram-sha-256\nauth_file = %s\npool_mode = transaction\ndefault_pool_size = 4\n", host, serverPort, port, users)
	if err := errors.Join(os.WriteFile(users, []byte(`"pondage" "`+postgresPassword+"\"\n"), 0o644), os.WriteFile(config, []byte(text), 0o644), os.Chmod(dir, 0o755)); err != nil {
		return nil, nil, err
	}
	b := &PgBouncer{DSN: PostgresDSN(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))}
	// As a server, it runs as anybody but root.
	p := &process{path: path, dir: dir, args: []string{config}, user: s.user, ready: (&Postgres{DSN: b.DSN}).ping}
	return b, p, p.start()
}
