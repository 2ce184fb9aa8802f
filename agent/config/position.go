package config

import (
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in a file, both numbers from 1.
type position struct {
	file         string
	line, column int
}

// positions finds the place of every key in a TOML text that is known to
// parse. Paths look like stream[1].commit_window.
func positions(in input) map[string]position {
	m := mapper{file: in.file, at: map[string]position{}, count: map[string]int{}}
	m.parser.Reset(in.text)
	table := ""
	for m.parser.NextExpression() {
		switch n := m.parser.Expression(); n.Kind {
		case unstable.Table:
			table = m.key("", n.Key(), false)
		case unstable.ArrayTable:
			table = m.key("", n.Key(), true)
		case unstable.KeyValue:
			m.value(m.key(table, n.Key(), false), n.Value())
		}
	}
	return m.at
}

type mapper struct {
	file   string
	parser unstable.Parser
	at     map[string]position
	count  map[string]int // entries of an array of tables so far
}

// key walks a dotted key below a table, notes its parts, and returns its path.
// Parts that name an array of tables mean its latest entry; a new entry is
// added for the last part when grow is set.
func (m *mapper) key(path string, parts unstable.Iterator, grow bool) string {
	for parts.Next() {
		n := parts.Node()
		path = join(path, string(n.Data))
		if _, seen := m.at[path]; !seen {
			m.at[path] = m.place(n)
		}
		if grow && parts.IsLast() {
			m.count[path]++
		}
		if c := m.count[path]; c > 0 {
			path = fmt.Sprintf("%s[%d]", path, c-1)
			if _, seen := m.at[path]; !seen {
				m.at[path] = m.place(n)
			}
		}
	}
	return path
}

// value notes the keys of inline tables, alone or in an array.
func (m *mapper) value(path string, v *unstable.Node) {
	children := v.Children()
	switch v.Kind {
	case unstable.InlineTable:
		for children.Next() {
			kv := children.Node()
			m.value(m.key(path, kv.Key(), false), kv.Value())
		}
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			entry := fmt.Sprintf("%s[%d]", path, i)
			m.at[entry] = m.at[path]
			m.value(entry, children.Node())
		}
	}
}

func (m *mapper) place(n *unstable.Node) position {
	start := m.parser.Shape(n.Raw).Start
	return position{m.file, start.Line, start.Column}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
