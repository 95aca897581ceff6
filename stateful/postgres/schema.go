package postgres

import (
	"context"
	"errors"
	"fmt"
)

// checkServer refuses one that cannot be written to, and says what it may lose.
func (b *Backend) checkServer(ctx context.Context) error {
	var standby bool
	var fsync, commits string
	var version int32
	err := b.again(ctx, call{sql: b.sql.server, row: func(f *fields) error {
		standby, fsync, commits, version = f.bool(), f.text(), f.text(), f.int4()
		return nil
	}})
	switch {
	case err != nil:
		return err
	case version < 130000:
		return fmt.Errorf("the server's version is %d, want 13 or newer", version/10000)
	case standby:
		return errors.New("the server is a standby, which takes no writes: connect to its primary")
	}
	if fsync == "off" {
		b.c.Logger.Warn("postgres: the server has fsync=off: a crash may damage it, not only lose commits")
	}
	if commits == "off" {
		b.c.Logger.Warn("postgres: synchronous_commit is off: a crash of the server loses commits that were acknowledged, and is refused then. Set it to on")
	}
	return nil
}

// checkSchema makes the schema unless it is there, and refuses one that is not ours or too new.
func (b *Backend) checkSchema(ctx context.Context) error {
	ours, tables := false, int64(0)
	err := b.again(ctx, call{sql: b.sql.version, params: []param{textParam(b.c.Schema)}, row: func(f *fields) error {
		ours, tables = f.bool(), f.int8()
		return nil
	}})
	switch {
	case err != nil:
		return err
	case !ours && tables > 0:
		return fmt.Errorf("it has %d tables and indexes and none of them is pondage_format: it is somebody else's, name another in Config.Schema", tables)
	case !ours:
		if err := b.guard.Again(ctx, func() error { return b.createSchema(ctx) }); err != nil {
			if hasCode(err, codePrivilege) {
				err = fmt.Errorf("%w; grant the user CREATE on the database once, or make the schema with a user that may", err)
			}
			return fmt.Errorf("make it: %w", err)
		}
	}
	version := int32(0)
	if err := b.again(ctx, call{sql: b.sql.format, row: func(f *fields) error {
		version = f.int4()
		return nil
	}}); err != nil {
		return err
	}
	switch {
	case version > schemaVersion:
		return fmt.Errorf("its version %d is newer than %d, the newest this release knows: run the release that made it, or a newer one", version, schemaVersion)
	case version < 1:
		return errors.New("pondage_format has no version: restore it from a copy, or drop the schema to begin anew")
	}
	return nil
}

// createSchema runs several statements, which the server takes as one transaction.
func (b *Backend) createSchema(ctx context.Context) error {
	try, cancel := context.WithTimeout(ctx, 4*b.c.Timeout)
	defer cancel()
	conn, err := b.pool.Acquire(try)
	if err != nil {
		return &connectError{err}
	}
	defer conn.Release()
	return conn.Conn().PgConn().Exec(try, b.sql.schema).Close()
}
