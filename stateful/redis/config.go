package redis

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config configures a [Backend]. URLs are required, or Client. Printing it shows no password.
type Config struct {
	// URLs are redis://[user:password@]host[:port][/database], or rediss:// for TLS. One is a single
	// server; several are some nodes of a Cluster; with MasterName they are Sentinels. User and password,
	// of the data servers, and database must be the same in all.
	URLs []string
	// MasterName is the name under which Sentinels know the master.
	MasterName string
	// Cluster says that the only URL is that of a node of a Cluster.
	Cluster bool
	// Username and Password are those of the ACL, instead of those in the URLs.
	Username, Password string
	// SentinelUsername and SentinelPassword are those of the Sentinels.
	SentinelUsername, SentinelPassword string
	// TLS is used for rediss:// URLs, and for all when it is not nil. The server's certificate is always
	// verified. Default: the system's authorities.
	TLS *tls.Config
	// Client is used instead of one that is made from the fields above and those of pool and
	// timeouts. It is not closed with the backend; it should not retry by itself (MaxRetries -1).
	Client goredis.UniversalClient

	// Prefix begins every key. It has no braces. Default "pondage:".
	Prefix string
	// Index keeps the keys of each task in order, in a sorted set beside its hash: a scan then costs
	// what it returns, and otherwise as much as the task has. Turn it on for tasks with more than some
	// thousand keys that have windows, sessions, timers or a time to live. It costs the memory of
	// the keys once more, and time only when keys come and go. It may be changed: the next owner of a
	// task builds or drops its index.
	Index bool

	// Replicas is how many replicas must have a commit before it is done: then it survives the
	// master's death and the failover. A commit that they do not have within half of ReadTimeout has an unknown outcome. Not for
	// a Cluster. Default 0.
	Replicas int

	// PoolMin and PoolMax are the connections to a server that are kept idle at least, and open at most. Defaults 10 and 50.
	PoolMin, PoolMax int
	// Retries is how often a call that may be repeated is, after the first. Default 3; negative for never.
	Retries int
	// RetryBase and RetryMax bound the wait before the n-th repetition, counted from 0: min(base * 2^n, max), of
	// which up to a half is left out at random. Defaults 100 ms and 5 s.
	RetryBase, RetryMax time.Duration
	// DialTimeout, ReadTimeout and WriteTimeout bound one try. Defaults 5 s, 3 s and 3 s.
	DialTimeout, ReadTimeout, WriteTimeout time.Duration
	// BreakerFailures in a row hold all calls back for BreakerFor; then one is let through. Defaults 5 and 10 s.
	BreakerFailures uint32
	BreakerFor      time.Duration

	// Logger gets what nobody else is told. Defaults to slog.Default().
	Logger *slog.Logger
}

// String returns the configuration without its secrets.
func (c Config) String() string {
	var hosts []string
	for _, u := range c.URLs {
		if e, err := parseURL(u); err == nil {
			hosts = append(hosts, e.addr)
		} else {
			hosts = append(hosts, "?")
		}
	}
	return fmt.Sprintf("redis(%s, prefix %q)", strings.Join(hosts, ","), c.Prefix)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "pondage:")
	c.PoolMax = cmp.Or(c.PoolMax, 50)
	c.PoolMin = cmp.Or(c.PoolMin, min(10, c.PoolMax))
	c.Retries = max(cmp.Or(c.Retries, 3), 0)
	c.RetryBase = cmp.Or(c.RetryBase, 100*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 3*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 3*time.Second)
	c.BreakerFailures = cmp.Or(c.BreakerFailures, 5)
	c.BreakerFor = cmp.Or(c.BreakerFor, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if len(c.URLs) == 0 && c.Client == nil {
		errs = append(errs, errors.New("URLs are required: redis://localhost:6379 is a server on this machine"))
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		errs = append(errs, fmt.Errorf("Prefix is %q: braces are for the part of a key that chooses its slot", c.Prefix))
	}
	if c.Replicas < 0 || c.Replicas > 0 && c.isCluster() {
		errs = append(errs, fmt.Errorf("Replicas is %d: a Cluster cannot wait for them, so leave it 0 and set min-replicas-to-write there", c.Replicas))
	}
	if c.PoolMin < 0 || c.PoolMax < 1 || c.PoolMin > c.PoolMax {
		errs = append(errs, fmt.Errorf("PoolMin is %d and PoolMax %d: want 0 <= PoolMin <= PoolMax and at least 1", c.PoolMin, c.PoolMax))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"RetryBase", c.RetryBase},
		{"RetryMax", c.RetryMax},
		{"DialTimeout", c.DialTimeout},
		{"ReadTimeout", c.ReadTimeout},
		{"WriteTimeout", c.WriteTimeout},
		{"BreakerFor", c.BreakerFor},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative: leave it 0 for the default", d.name))
		}
	}
	if t := c.TLS; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil && t.VerifyPeerCertificate == nil { //nolint:gosec // it is refused
		errs = append(errs, errors.New("TLS must verify the server: put its authority into RootCAs instead of setting InsecureSkipVerify"))
	}
	return errors.Join(errs...)
}

func (c Config) isCluster() bool {
	_, given := c.Client.(*goredis.ClusterClient)
	return given || c.Client == nil && (c.Cluster || len(c.URLs) > 1 && c.MasterName == "")
}

// options returns what the client is made of.
func (c Config) options() (*goredis.UniversalOptions, error) {
	o := &goredis.UniversalOptions{
		MasterName: c.MasterName, IsClusterMode: c.Cluster,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
		TLSConfig: c.TLS,
		// What may be repeated is repeated by us, for go-redis cannot know what may.
		MaxRetries: -1, DialerRetries: 1,
		PoolSize: c.PoolMax, MaxActiveConns: c.PoolMax, MinIdleConns: c.PoolMin,
		DialTimeout: c.DialTimeout, ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for i, text := range c.URLs {
		u, err := parseURL(text)
		if err != nil {
			return nil, fmt.Errorf("URLs[%d]: %w", i, err)
		}
		if i > 0 && (u.user != o.Username || u.password != o.Password || u.db != o.DB || u.tls != (o.TLSConfig != nil) && c.TLS == nil) {
			return nil, fmt.Errorf("URLs[%d]: scheme, user, password or database are not those of the first", i)
		}
		o.Addrs = append(o.Addrs, u.addr)
		o.Username, o.Password, o.DB = u.user, u.password, u.db
		if u.tls && o.TLSConfig == nil {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	o.Username, o.Password = cmp.Or(c.Username, o.Username), cmp.Or(c.Password, o.Password)
	if c.isCluster() && o.DB != 0 {
		return nil, fmt.Errorf("URLs name the database %d: a Cluster has only 0", o.DB)
	}
	return o, nil
}

type endpoint struct {
	addr, user, password string
	db                   int
	tls                  bool
}

// parseURL understands no options behind a question mark: they would be a second way to configure, one
// of them to trust any certificate. Its errors show nothing of the text, which may have a password anywhere.
func parseURL(text string) (endpoint, error) {
	const form = "want redis://[user:password@]host[:port][/database], or rediss:// for TLS, with special characters of the password escaped as in %2F"
	u, err := url.Parse(text)
	if err != nil {
		return endpoint{}, errors.New("it is no URL: " + form)
	}
	e := endpoint{tls: u.Scheme == "rediss"}
	if u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Opaque != "" {
		return endpoint{}, errors.New("it is no URL of a Redis: " + form)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, errors.New("it has options behind ? or #: set the fields of Config instead; " + form)
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if e.db, err = strconv.Atoi(path); err != nil || e.db < 0 {
			return endpoint{}, errors.New("its database is no number: " + form)
		}
	}
	e.user = u.User.Username()
	e.password, _ = u.User.Password()
	e.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))
	return e, nil
}
