package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// document is a parsed file, with an overlay or without, while its values are
// taken out of it.
type document struct {
	file   string // the first one, which is meant where a key stands nowhere
	at     map[string]position
	errors Errors
}

// fail notes a problem with the key at path. A key that is absent is reported
// where its table begins.
func (d *document) fail(path, hint, problem string, args ...any) {
	p, ok := d.at[path]
	for table := path; !ok && table != ""; p, ok = d.at[table] {
		table = table[:max(0, strings.LastIndexByte(table, '.'))]
	}
	if !ok {
		p.file = d.file
	}
	d.failAt(p, path, hint, problem, args...)
}

func (d *document) failAt(p position, path, hint, problem string, args ...any) {
	d.errors = append(d.errors, &Error{
		File: p.file, Line: p.line, Column: p.column, Key: path,
		Problem: fmt.Sprintf(problem, args...), Hint: hint,
	})
}

// table is one table of the file. Each method below takes one key: absent
// leaves the default that is already there, wrong notes an error. done then
// reports every key that nobody took, so the list of known keys is written
// down nowhere but in the calls themselves.
type table struct {
	doc    *document
	path   string
	values map[string]any
	known  []string
}

func (t *table) take(key string) (value any, path string, ok bool) {
	t.known = append(t.known, key)
	value, ok = t.values[key]
	return value, join(t.path, key), ok
}

func (t *table) has(key string) bool { _, ok := t.values[key]; return ok }

// fail reports a problem with one key of this table.
func (t *table) fail(key, hint, problem string, args ...any) {
	t.doc.fail(join(t.path, key), hint, problem, args...)
}

// done reports the keys that nobody took.
func (t *table) done() {
	for key := range t.values {
		if slices.Contains(t.known, key) {
			continue
		}
		hint := "known here: " + strings.Join(t.known, ", ")
		if c := closest(key, t.known); c != "" {
			hint = fmt.Sprintf("did you mean %q?", c)
		}
		t.doc.fail(join(t.path, key), hint, "unknown key")
	}
}

// table takes a sub-table; an absent one is empty.
func (t *table) table(key string) *table {
	v, path, ok := t.take(key)
	sub := &table{doc: t.doc, path: path}
	if ok {
		if sub.values, ok = v.(map[string]any); !ok {
			t.fail(key, "", "is %s; must be a table: [%s]", kind(v), path)
		}
	}
	return sub
}

// each takes an array of tables.
func (t *table) each(key string, read func(entry *table)) {
	v, path, ok := t.take(key)
	if !ok {
		return
	}
	entries, ok := v.([]any)
	if !ok {
		t.fail(key, "", "is %s; must be an array of tables: [[%s]]", kind(v), path)
		return
	}
	if len(entries) > entriesMax {
		t.fail(key, "", "has %d entries; at most %d are allowed", len(entries), entriesMax)
		return
	}
	for i, e := range entries {
		entry := &table{doc: t.doc, path: fmt.Sprintf("%s[%d]", path, i)}
		if entry.values, ok = e.(map[string]any); !ok {
			t.fail(key, "", "has %s in it; must be an array of tables: [[%s]]", kind(e), path)
			return
		}
		read(entry)
		entry.done()
	}
}

// text takes a string; with allowed words, one of them.
func (t *table) text(key string, dst *string, allowed ...string) {
	v, _, ok := t.take(key)
	if !ok {
		return
	}
	s, isString := v.(string)
	switch {
	case !isString:
		t.fail(key, "", "is %s; must be a string%s", kind(v), oneOf(allowed))
	case len(s) > textMax:
		t.fail(key, "", "is %d bytes long; at most %d are allowed", len(s), textMax)
	case len(allowed) > 0 && !slices.Contains(allowed, s):
		t.fail(key, meant(s, allowed), "is %q; allowed are %s", s, quoted(allowed))
	default:
		*dst = s
	}
}

// texts takes an array of strings.
func (t *table) texts(key string, dst *[]string) {
	v, _, ok := t.take(key)
	if !ok {
		return
	}
	list, isList := v.([]any)
	if !isList || len(list) > entriesMax {
		t.fail(key, "", "is %s; must be an array of at most %d strings", kind(v), entriesMax)
		return
	}
	var words []string
	for _, e := range list {
		s, isString := e.(string)
		if !isString || s == "" || len(s) > textMax {
			t.fail(key, "", "has %s in it; must be an array of strings of 1 to %d bytes", kind(e), textMax)
			return
		}
		words = append(words, s)
	}
	*dst = words
}

func (t *table) flag(key string, dst *bool) {
	if v, _, ok := t.take(key); ok {
		b, isBool := v.(bool)
		if !isBool {
			t.fail(key, "", "is %s; must be true or false", kind(v))
			return
		}
		*dst = b
	}
}

// integer takes a whole number in [low, high].
func (t *table) integer(key string, dst *int, low, high int) {
	if v, _, ok := t.take(key); ok {
		n, isInt := v.(int64)
		if !isInt {
			t.fail(key, "", "is %s; must be a whole number from %d to %d", kind(v), low, high)
			return
		}
		if n < int64(low) || n > int64(high) {
			t.fail(key, "", "is %d; allowed are %d to %d", n, low, high)
			return
		}
		*dst = int(n)
	}
}

// size takes bytes in [low, high], as a number or with a unit; 0 as well when
// it means something, which low = 0 says.
func (t *table) size(key string, dst *int64, low, high int64) {
	v, _, ok := t.take(key)
	if !ok {
		return
	}
	var n int64
	var err error
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		n, err = ParseSize(v)
	default:
		err = fmt.Errorf("is %s; must be a size like \"64KiB\"", kind(v))
	}
	switch {
	case err != nil:
		t.fail(key, "", "%s", err)
	case n < low || n > high:
		t.fail(key, "", "is %s; allowed are %s to %s", FormatSize(n), FormatSize(low), FormatSize(high))
	default:
		*dst = n
	}
}

// duration takes a time span in [low, high].
func (t *table) duration(key string, dst *time.Duration, low, high time.Duration) {
	v, _, ok := t.take(key)
	if !ok {
		return
	}
	s, isString := v.(string)
	if !isString {
		t.fail(key, "", "is %s; must be a string like \"20ms\"", kind(v))
		return
	}
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		t.fail(key, "", "%s", err)
	case d < low || d > high:
		t.fail(key, "", "is %s; allowed are %s to %s", s, FormatDuration(low), FormatDuration(high))
	default:
		*dst = d
	}
}

const (
	textMax    = 4096 // bytes of one string
	entriesMax = 1024 // entries of one array
)

// kind names a TOML value the way a person would.
func kind(v any) string {
	switch v := v.(type) {
	case string:
		if len(v) > 40 {
			return "a string"
		}
		return fmt.Sprintf("the string %q", v)
	case int64, float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("%v", v)
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func oneOf(allowed []string) string {
	if len(allowed) == 0 {
		return ""
	}
	return ": " + quoted(allowed)
}

func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(q, ", ")
}

func meant(word string, allowed []string) string {
	if c := closest(strings.ToLower(word), allowed); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	return ""
}
