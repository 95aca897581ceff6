package postgres

import (
	"embed"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The statements are files, and what they work on comes as parameters: none is ever built from
// data. Only the schema's name is put in, once, and it is one that needs no quotes.
//
//go:embed sql/*.sql
var files embed.FS

// schemaName is what a schema may be called: 40 characters leave room for those of tables.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// comment is a line that the server need not read again and again.
var comment = regexp.MustCompile(`(?m)^--.*\n`)

// statements is the text of each.
type statements struct {
	schema, version, format, server, settings  string
	find, create, take, hung, head             string
	get, scan, commit                          string
	leaseToken, leaseTake, leaseRenew, release string

	cursorFence, cursorMove string

	kvGet, kvPut, kvDelete, kvSweep, kvTTL, kvTake string
	kvInsert, kvUpdate, kvRemove, kvMissing        string
	kvAdd, kvList, kvSize                          string
}

// newStatements returns the statements for a schema, whose name was checked.
func newStatements(schema string) *statements {
	text := func(name string) string {
		b, err := files.ReadFile("sql/" + name + ".sql")
		if err != nil {
			panic(err) // it is embedded
		}
		return strings.ReplaceAll(comment.ReplaceAllString(string(b), ""), "{schema}", schema)
	}
	return &statements{
		schema: text("schema"), version: text("version"), format: text("format"), server: text("server"), settings: text("settings"),
		find: text("find"), create: text("create"), take: text("take"), hung: text("hung"), head: text("head"),
		get: text("get"), scan: text("scan"), commit: text("commit"),
		leaseToken: text("lease_token"), leaseTake: text("lease_take"), leaseRenew: text("lease_renew"), release: text("lease_release"),

		cursorFence: text("cursor_fence"), cursorMove: text("cursor_move"),

		kvGet: text("kv_get"), kvPut: text("kv_put"), kvDelete: text("kv_delete"), kvSweep: text("kv_sweep"),
		kvTTL: text("kv_ttl"), kvTake: text("kv_take"), kvInsert: text("kv_insert"), kvUpdate: text("kv_update"),
		kvRemove: text("kv_remove"), kvMissing: text("kv_missing"), kvAdd: text("kv_add"), kvList: text("kv_list"), kvSize: text("kv_size"),
	}
}

// tableStatement returns the statement that writes to a table, whose names and types were checked: they need no
// quotes.
func tableStatement(t Table) string {
	name := "table_insert"
	if len(t.Key) > 0 {
		name = "table_upsert"
	}
	b, err := files.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic(err) // it is embedded
	}
	var columns, arrays, updates []string
	for i, c := range t.Columns {
		columns = append(columns, c.Name)
		arrays = append(arrays, "$"+strconv.Itoa(i+1)+"::"+c.Type+"[]")
		if !slices.Contains(t.Key, c.Name) {
			updates = append(updates, c.Name+" = excluded."+c.Name)
		}
	}
	return strings.NewReplacer("{table}", t.Name, "{columns}", strings.Join(columns, ", "), "{arrays}", strings.Join(arrays, ", "),
		"{key}", strings.Join(t.Key, ", "), "{updates}", strings.Join(updates, ", ")).Replace(string(b))
}
