package postgres

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config configures a [Backend]. DSN is required, or Pool. Printing it shows no password.
type Config struct {
	// DSN is postgres://[user[:password]@]host[:port]/database[?sslmode=...], or the same as key=value. The server's
	// certificate is verified (sslmode=verify-full is the default, verify-ca is possible); a server
	// without TLS must be asked for: sslmode=disable. Several hosts are tried in turn for one that takes writes.
	DSN string
	// Pool is used instead of one that is made from DSN, TLS and those of pool and timeouts. It is not closed with
	// the backend.
	Pool *pgxpool.Pool
	// TLS is used instead of what DSN says of certificates.
	TLS *tls.Config
	// Pooler says that DSN or Pool leads to a pooler that gives each transaction another session (PgBouncer
	// with pool_mode=transaction).
	Pooler bool

	// Schema has the tables. It is made when it is not there. It matches [a-z_][a-z0-9_]{0,39}. Default "pondage".
	Schema string

	// PoolMin and PoolMax are the connections that are kept at least, and open at most. Defaults 1 and 10.
	PoolMin, PoolMax int
	// Retries is how often a call that may be repeated is, after the first. Default 3; negative for never.
	Retries int
	// RetryBase and RetryMax bound the wait before the n-th repetition, counted from 0: min(base * 2^n, max), of
	// which up to a half is left out at random. Defaults 100 ms and 5 s.
	RetryBase, RetryMax time.Duration
	// DialTimeout bounds connecting. Default 5 s.
	DialTimeout time.Duration
	// Timeout bounds one try of a call, also at the server. Default 15 s.
	Timeout time.Duration
	// LockTimeout bounds the wait for a lock within a call. Default 5 s.
	LockTimeout time.Duration
	// TakeOverAfter is how long a new owner waits for a commit that the old one has under way before it ends that
	// session (pg_terminate_backend, which a user may do to sessions of its own). Default 5 s.
	TakeOverAfter time.Duration
	// BreakerFailures in a row hold all calls back for BreakerFor; then one is let through. Defaults 5 and 10 s.
	BreakerFailures uint32
	BreakerFor      time.Duration

	// Logger gets what nobody else is told. Defaults to slog.Default().
	Logger *slog.Logger
}

// String returns the configuration without its secrets.
func (c Config) String() string {
	where := "a given pool"
	if c.Pool == nil {
		where = "?"
		if p, err := c.parse(); err == nil {
			cc := p.ConnConfig
			where = fmt.Sprintf("%s:%d/%s", cc.Host, cc.Port, cc.Database)
		}
	}
	return fmt.Sprintf("postgres(%s, schema %q)", where, c.Schema)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Config) withDefaults() Config {
	c.Schema = cmp.Or(c.Schema, "pondage")
	c.PoolMax = cmp.Or(c.PoolMax, 10)
	c.PoolMin = cmp.Or(c.PoolMin, 1)
	c.Retries = max(cmp.Or(c.Retries, 3), 0)
	c.RetryBase = cmp.Or(c.RetryBase, 100*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 15*time.Second)
	c.LockTimeout = cmp.Or(c.LockTimeout, 5*time.Second)
	c.TakeOverAfter = cmp.Or(c.TakeOverAfter, 5*time.Second)
	c.BreakerFailures = cmp.Or(c.BreakerFailures, 5)
	c.BreakerFor = cmp.Or(c.BreakerFor, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.DSN == "" && c.Pool == nil {
		errs = append(errs, errors.New("DSN is required: postgres://user@localhost/database?sslmode=disable is a server on this machine"))
	}
	if !schemaName.MatchString(c.Schema) {
		errs = append(errs, fmt.Errorf("Schema is %q; it must match %s", c.Schema, schemaName))
	}
	if c.PoolMin < 0 || c.PoolMax < 2 || c.PoolMin > c.PoolMax {
		errs = append(errs, fmt.Errorf("PoolMin is %d and PoolMax %d: want 0 <= PoolMin <= PoolMax and at least 2", c.PoolMin, c.PoolMax))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"RetryBase", c.RetryBase},
		{"RetryMax", c.RetryMax},
		{"DialTimeout", c.DialTimeout},
		{"Timeout", c.Timeout},
		{"LockTimeout", c.LockTimeout},
		{"TakeOverAfter", c.TakeOverAfter},
		{"BreakerFor", c.BreakerFor},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: leave it 0 for the default", d.name))
		}
	}
	if c.TLS != nil && !verifies(c.TLS) {
		errs = append(errs, errors.New("TLS must verify the server: put its authority into RootCAs instead of setting InsecureSkipVerify"))
	}
	return errors.Join(errs...)
}

// verifies reports whether a connection with t knows whom it talks to.
func verifies(t *tls.Config) bool {
	return !t.InsecureSkipVerify || t.VerifyConnection != nil || t.VerifyPeerCertificate != nil //nolint:gosec // what does not is refused
}

// parse returns what the pool is made of. Its errors show nothing of the DSN, which may have a password anywhere.
func (c Config) parse() (*pgxpool.Config, error) {
	p, err := pgxpool.ParseConfig(c.DSN)
	if err != nil {
		return nil, errors.New("DSN is not understood: want postgres://user:password@host:port/database?sslmode=..., with special characters " +
			"of the password escaped as in %2F; or key=value with quotes around values; and files it names must be readable")
	}
	cc := &p.ConnConfig.Config
	if err := c.secure(cc); err != nil {
		return nil, err
	}
	cc.ConnectTimeout = c.DialTimeout
	if cc.ValidateConnect == nil {
		cc.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite // else a standby may be written to in vain
	}
	if !c.Pooler { // which would refuse them
		for name, value := range map[string]string{
			"application_name": "pondage", "statement_timeout": millis(c.Timeout), "lock_timeout": millis(c.LockTimeout),
			"idle_in_transaction_session_timeout": millis(c.Timeout),
		} {
			if _, ok := cc.RuntimeParams[name]; !ok {
				cc.RuntimeParams[name] = value
			}
		}
	}
	p.MaxConns, p.MinConns = int32(c.PoolMax), int32(c.PoolMin)
	return p, nil
}

// secure makes each host's connection one that is verified, or that was asked to have no TLS.
func (c Config) secure(cc *pgconn.Config) error {
	// Without sslmode there is first TLS that verifies nothing and then, as a fallback, none at all.
	first := &pgconn.FallbackConfig{Host: cc.Host, Port: cc.Port, TLSConfig: cc.TLSConfig}
	var kept []*pgconn.FallbackConfig
	for _, f := range append([]*pgconn.FallbackConfig{first}, cc.Fallbacks...) {
		switch n := len(kept); {
		case n > 0 && kept[n-1].Host == f.Host && kept[n-1].Port == f.Port && kept[n-1].TLSConfig != nil && f.TLSConfig == nil:
			kept[n-1].TLSConfig.InsecureSkipVerify = false // the two of the default, sslmode=prefer
			kept[n-1].TLSConfig.ServerName = f.Host
			continue
		case n > 0 && kept[n-1].Host == f.Host && kept[n-1].Port == f.Port:
			return errors.New("sslmode=allow would take a connection without TLS: use verify-full, or disable")
		}
		kept = append(kept, f)
	}
	for _, f := range kept {
		if c.TLS != nil && !strings.HasPrefix(f.Host, "/") {
			f.TLSConfig = c.TLS.Clone()
			f.TLSConfig.ServerName = cmp.Or(f.TLSConfig.ServerName, f.Host)
		}
		if f.TLSConfig != nil && !verifies(f.TLSConfig) {
			return errors.New("sslmode=require without sslrootcert encrypts but trusts any server: use verify-full, or disable")
		}
	}
	cc.TLSConfig, cc.Fallbacks = kept[0].TLSConfig, kept[1:]
	return nil
}
