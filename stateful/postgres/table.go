package postgres

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pondage/pondage/stateful"
)

// Table says how outputs become rows of a table. The table is there already; the backend's user may insert into it, and
// with Key also update it.
type Table struct {
	// Name is the table's, where needed with that of its schema: counts, reports.counts. Each part
	// matches [a-z_][a-z0-9_]{0,39}, as do the names of columns.
	Name string
	// Columns are those that are written, in the order of what Values returns.
	Columns []Column
	// Key names columns with a unique index: an output whose key is there already replaces the row. Without it
	// each output is a row of its own.
	Key []string
	// Values appends the columns' values of an output to values, nil for null: string, []byte, bool, integers, floats, time.Time,
	// json.RawMessage. What it returns depends on row alone. An error is the record's: it is called before the
	// output is taken. What the table itself refuses, by a constraint, stops the task with the reason until the table
	// takes it.
	Values func(row *stateful.Row, values []any) ([]any, error)
}

// Column is a column of a [Table].
type Column struct {
	Name string
	Type string // text, bytea, bool, int8, float8, numeric, timestamptz or jsonb
}

// columnTypes are the types of columns, and what their values must be.
var columnTypes = map[string]func(v any) (string, error){
	"text": asText, "bytea": asBytes, "bool": asBool, "int8": asInt, "float8": asFloat, "numeric": asNumeric, "timestamptz": asTime, "jsonb": asJSON,
}

var tableName = regexp.MustCompile(`^([a-z_][a-z0-9_]{0,39}\.)?[a-z_][a-z0-9_]{0,39}$`)

// table is a checked Table.
type table struct {
	Table
	sql struct{ insert string }
}

func newTable(t Table) (*table, error) {
	var errs []error
	if !tableName.MatchString(t.Name) {
		errs = append(errs, fmt.Errorf("Name is %q; it must match %s", t.Name, tableName))
	}
	if len(t.Columns) == 0 || t.Values == nil {
		errs = append(errs, errors.New("Columns and Values are required"))
	}
	names := make(map[string]bool)
	for _, c := range t.Columns {
		if !schemaName.MatchString(c.Name) || names[c.Name] {
			errs = append(errs, fmt.Errorf("column %q: the name must match %s and be there once", c.Name, schemaName))
		}
		if columnTypes[c.Type] == nil {
			errs = append(errs, fmt.Errorf("column %q has the type %q: want text, bytea, bool, int8, float8, numeric, timestamptz or jsonb", c.Name, c.Type))
		}
		names[c.Name] = true
	}
	for _, k := range t.Key {
		if !names[k] {
			errs = append(errs, fmt.Errorf("Key names %q, which is none of Columns", k))
		}
	}
	if len(t.Key) > 0 && len(t.Key) >= len(t.Columns) {
		errs = append(errs, errors.New("Key has all Columns: what would an output replace?"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	checked := &table{Table: t}
	checked.sql.insert = tableStatement(t)
	return checked, nil
}

// texts returns the values of row as the server reads them; nil is null.
func (t *table) texts(row *stateful.Row) ([]*string, error) {
	values, err := t.Values(row, make([]any, 0, len(t.Columns)))
	if err != nil {
		return nil, err
	}
	if len(values) != len(t.Columns) {
		return nil, fmt.Errorf("Values returned %d values for %d columns", len(values), len(t.Columns))
	}
	texts := make([]*string, len(values))
	for i, v := range values {
		if v == nil {
			continue
		}
		text, err := columnTypes[t.Columns[i].Type](v)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", t.Columns[i].Name, err)
		}
		texts[i] = &text
	}
	return texts, nil
}

// insert returns the statement that writes rows.
func (t *table) insert(rows []stateful.Row) (call, error) {
	arrays := make([][]byte, len(t.Columns))
	for i := range arrays {
		arrays[i] = append(arrays[i], '{')
	}
	for i := range rows {
		texts, err := t.texts(&rows[i])
		if err != nil {
			return call{}, fmt.Errorf("output %d: %w", rows[i].Seq, err)
		}
		for c, text := range texts {
			if i > 0 {
				arrays[c] = append(arrays[c], ',')
			}
			arrays[c] = appendElement(arrays[c], text)
		}
	}
	params := make([]param, len(arrays))
	for i, a := range arrays {
		params[i] = param{value: append(a, '}'), text: true}
	}
	return call{sql: t.sql.insert, params: params}, nil
}

// appendElement appends an element of an array in PostgreSQL's text form.
func appendElement(a []byte, text *string) []byte {
	if text == nil {
		return append(a, "NULL"...)
	}
	a = append(a, '"')
	for i := range len(*text) {
		if c := (*text)[i]; c == '"' || c == '\\' {
			a = append(a, '\\', c)
		} else {
			a = append(a, c)
		}
	}
	return append(a, '"')
}

func wrongType(v any, want string) error { return fmt.Errorf("the value is a %T, want %s", v, want) }

func asText(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", wrongType(v, "a string")
	case !utf8.ValidString(s) || strings.Contains(s, "\x00"):
		return "", errors.New("a text of PostgreSQL is UTF-8 without zero bytes: use bytea")
	}
	return s, nil
}

func asBytes(v any) (string, error) {
	b, ok := v.([]byte)
	if !ok {
		return "", wrongType(v, "[]byte")
	}
	return `\x` + hex.EncodeToString(b), nil
}

func asBool(v any) (string, error) {
	b, ok := v.(bool)
	if !ok {
		return "", wrongType(v, "a bool")
	}
	return strconv.FormatBool(b), nil
}

func asInt(v any) (string, error) {
	switch n := v.(type) {
	case int:
		return strconv.Itoa(n), nil
	case int64:
		return strconv.FormatInt(n, 10), nil
	case int32:
		return strconv.FormatInt(int64(n), 10), nil
	case uint32:
		return strconv.FormatUint(uint64(n), 10), nil
	case uint64:
		if n > math.MaxInt64 {
			return "", fmt.Errorf("%d is beyond int8: use numeric", n)
		}
		return strconv.FormatUint(n, 10), nil
	}
	return "", wrongType(v, "an int, int32, int64, uint32 or uint64")
}

func asFloat(v any) (string, error) {
	switch n := v.(type) {
	case float64:
		return formatFloat(n, 64), nil
	case float32:
		return formatFloat(float64(n), 32), nil
	}
	return "", wrongType(v, "a float32 or float64")
}

func formatFloat(n float64, bits int) string {
	switch {
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(n, 'g', -1, bits)
}

var numeric = regexp.MustCompile(`^[+-]?[0-9]{1,1000}(\.[0-9]{1,1000})?$`)

func asNumeric(v any) (string, error) {
	switch n := v.(type) {
	case string:
		if !numeric.MatchString(n) {
			return "", errors.New("the string is no decimal number")
		}
		return n, nil
	case uint64:
		return strconv.FormatUint(n, 10), nil
	case float64:
		if math.IsInf(n, 0) {
			return "", errors.New("a numeric is not infinite")
		}
		return formatFloat(n, 64), nil
	}
	return asInt(v)
}

func asTime(v any) (string, error) {
	t, ok := v.(time.Time)
	if !ok {
		return "", wrongType(v, "a time.Time")
	}
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return "", fmt.Errorf("the year %d is not between 1 and 9999", t.Year())
	}
	return t.Format("2006-01-02T15:04:05.999999Z"), nil
}

func asJSON(v any) (string, error) {
	var b []byte
	switch j := v.(type) {
	case json.RawMessage:
		b = j
	case []byte:
		b = j
	default:
		return "", wrongType(v, "json.RawMessage or []byte")
	}
	if !json.Valid(b) || !utf8.Valid(b) {
		return "", errors.New("it is no JSON")
	}
	if strings.Contains(string(b), `\u0000`) {
		return "", errors.New(`jsonb of PostgreSQL has no \u0000`)
	}
	return string(b), nil
}
