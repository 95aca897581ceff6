package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"
)

// tasks calls f with each entry of a task, in any order.
type tasks interface {
	each(handler string, partition int, f func(k, v []byte) error) error
}

// folder is a database of Pebble.
type folder struct{ *pebble.DB }

func (db folder) each(handler string, partition int, f func(k, v []byte) error) error {
	prefix := append([]byte{'s'}, App+"\x00"+handler+"\x00"...)
	return each(db.DB, be.AppendUint32(prefix, uint32(partition)), f)
}

// ReadServer is [Read] of a state on a server: a redis:// or postgres:// URL, and its prefix or schema.
func ReadServer(ctx context.Context, url, space, logDir string) (_ *Data, err error) {
	var state tasks
	switch {
	case strings.HasPrefix(url, "redis:"):
		o, err := goredis.ParseURL(url)
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		c := goredis.NewClient(o)
		defer c.Close() //nolint:errcheck // everything is read
		state = hashes{ctx, c, space}
	case strings.HasPrefix(url, "postgres:"):
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		defer c.Close(ctx) //nolint:errcheck // everything is read
		state = rows{ctx, c, space}
	default:
		return nil, fmt.Errorf("verify: %s is of no server", url)
	}
	log, err := open(logDir)
	if err != nil {
		return nil, err
	}
	d, err := read(state, log)
	if err = errors.Join(err, log.Close()); err != nil {
		return nil, err
	}
	return d, nil
}

// hashes are the tasks on a Redis, one each.
type hashes struct {
	ctx    context.Context
	c      *goredis.Client
	prefix string
}

func (h hashes) each(handler string, partition int, f func(k, v []byte) error) error {
	all, err := h.c.HGetAll(h.ctx, fmt.Sprintf("%s{%s:%s:%d}:s", h.prefix, App, handler, partition)).Result()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for k, v := range all {
		if k == "\x00h" {
			continue
		}
		if err := f([]byte(k), []byte(v)); err != nil {
			return fmt.Errorf("verify: field %q: %w", k, err)
		}
	}
	return nil
}

// rows are the entries in a schema of PostgreSQL.
type rows struct {
	ctx    context.Context
	c      *pgx.Conn
	schema string
}

func (r rows) each(handler string, partition int, f func(k, v []byte) error) error {
	schema := pgx.Identifier{r.schema}.Sanitize()
	answer, err := r.c.Query(r.ctx, "select e.key, e.value from "+schema+".entry e join "+schema+".task t on t.id = e.task "+
		"where t.app = $1 and t.handler = $2 and t.partition = $3", App, handler, partition)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer answer.Close()
	for answer.Next() {
		var k, v []byte
		if err = answer.Scan(&k, &v); err == nil {
			err = f(k, v)
		}
		if err != nil {
			return fmt.Errorf("verify: key %q: %w", k, err)
		}
	}
	return answer.Err()
}
