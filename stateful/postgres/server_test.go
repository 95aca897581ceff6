package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pondage/pondage/internal/clock"
	"github.com/pondage/pondage/internal/testserver"
	"github.com/pondage/pondage/stateful"
	"github.com/pondage/pondage/stateful/postgres"
)

// certify returns a certificate for 127.0.0.1, signed by itself, and its key.
func certify(t *testing.T) (cert, key []byte, roots *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), roots
}

// A server is trusted because of its certificate, or because the DSN says that there is none.
func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t)
	secure := strings.Replace(s.DSN, "?sslmode=disable", "", 1)
	cert, key, roots := certify(t)
	try := func(dsn string, roots *x509.CertPool) error {
		c := config(dsn)
		c.Retries = -1
		if roots != nil {
			c.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		}
		b, err := postgres.New(ctx, c)
		if err == nil {
			err = b.Close()
		}
		return err
	}
	wantText(t, try(secure, nil), "refused TLS") // and is not talked to without
	wantText(t, try(s.DSN, roots), "refused TLS")

	s.WriteData("server.crt", cert)
	s.WriteData("server.key", key)
	s.Exec("alter system set ssl = on")
	s.Kill()
	s.Start()
	if err := try(secure, roots); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	wantText(t, try(secure, nil), "certificate")
	wantText(t, try(secure+"?sslmode=prefer", nil), "certificate")
	_, _, others := certify(t)
	wantText(t, try(secure, others), "certificate")
	wantText(t, try(strings.Replace(secure, "127.0.0.1", "localhost", 1), roots), "wanted to match localhost")
}

// A commit that the server rolls back to resolve a deadlock is made again.
func TestADeadlockIsNotTheEnd(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t, "deadlock_timeout=2s") // in which the other one must get to wait, too
	c := config(s.DSN)
	b := open(t, c)
	defer b.Close()
	st, _ := mustOpen(t, b)
	mustCommit(t, st, 1, put("a", "1"))
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("set deadlock_timeout = '1h'") // so that the commit is the one that is rolled back
	exec("set search_path = " + c.Schema)
	exec("begin")
	exec("update entry set value = 'theirs'")
	p := st.Submit(ctx, stateful.Commit{Seq: 2, Token: 2, Writes: []stateful.Write{put("a", "2")}})
	awaitLock(t, s.DSN)
	exec("update task set token = token")
	exec("commit")
	if err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if v, err := st.Get(ctx, "a"); err != nil || string(v[0]) != "2" {
		t.Errorf("a = %q, %v", v, err)
	}
	if log, err := os.ReadFile(filepath.Join(s.Dir, "log")); err != nil || !strings.Contains(string(log), "deadlock detected") {
		t.Errorf("there was no deadlock: %v\n%s", err, log)
	}
}

// When the disk is full commits fail for certain and say why, and the task goes on when there is room again.
func TestADiskThatIsFull(t *testing.T) {
	t.Parallel()
	s := testserver.NewPostgres(t)
	dir, err := s.SmallDisk(8 << 20)
	if err != nil {
		t.Skipf("this process may not make a small file system (mount): %v", err)
	}
	s.Exec("create tablespace small location '" + dir + "'")
	s.Exec("alter database postgres set default_tablespace = small")
	c := config(s.DSN)
	c.BreakerFailures = 1_000_000
	b := open(t, c)
	defer b.Close()
	s.Exec("create table " + c.Schema + ".filler as select repeat('x', 1000) from generate_series(1, 4000)")
	st, _ := mustOpen(t, b)
	value := make([]byte, 100_000)
	_, _ = rand.Read(value)
	seq, full := uint64(0), error(nil)
	for full == nil {
		seq++
		full = commit(st, seq, stateful.Write{Key: fmt.Sprint("k", seq), Value: value})
	}
	wantText(t, full, "No space left on device")
	if errors.Is(full, stateful.ErrCommitUnknown) {
		t.Errorf("the outcome is unknown: %v", full)
	}
	st, head := mustOpen(t, b)
	if head.Seq != seq-1 || seq < 3 {
		t.Errorf("the last commit is %d, %d failed", head.Seq, seq)
	}
	s.Exec("drop table " + c.Schema + ".filler")
	s.Exec("checkpoint") // only then the files are gone
	limit, cancel := context.WithTimeout(ctx, 60*patience)
	defer cancel()
	for commit(st, seq, stateful.Write{Key: fmt.Sprint("k", seq), Value: value}) != nil {
		if clock.Sleep(limit, patience/20) != nil {
			t.Fatal("it does not go on")
		}
		st, _ = mustOpen(t, b)
	}
	n := uint64(0)
	for e, err := range st.Scan(ctx, "", "") {
		if err != nil || string(e.Value) != string(value) {
			t.Fatalf("%s: %v", e.Key, err)
		}
		n++
	}
	if n != seq {
		t.Errorf("%d of %d are there", n, seq)
	}
}
