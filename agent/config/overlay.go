package config

import (
	"fmt"
	"slices"
)

// layer is one parsed file.
type layer struct {
	values map[string]any
	at     map[string]position
}

// stack lays each file over the one before it, and returns the values that
// count.
func (d *document) stack(layers []layer) map[string]any {
	d.at = layers[0].at
	for _, over := range layers[1:] {
		d.lay(layers[0].values, over.values, over.at, "")
	}
	return layers[0].values
}

// lay puts the keys of an overlay over those of a table: a key wins, a table is
// merged, and a list of tables is refused, since its entries have no names by
// which one of them could be meant. A table counts as standing where it was
// written last, so that what is missing in it is looked for there.
func (d *document) lay(under, over map[string]any, at map[string]position, path string) {
	for key, v := range over {
		p := join(path, key)
		was, there := under[key]
		if holdsTables(v) || holdsTables(was) {
			d.failAt(at[p], p, fmt.Sprintf("keep all of [[%s]] in %s", p, d.file),
				"an overlay changes single keys, and this is a list of tables")
			continue
		}
		d.at[p] = at[p]
		sub, isTable := v.(map[string]any)
		if !isTable {
			under[key] = v
			continue
		}
		below, wasTable := was.(map[string]any)
		if there && !wasTable {
			d.failAt(at[p], p, "", "is a table; in %s it is %s", d.file, kind(was))
			continue
		}
		if !there {
			below = map[string]any{}
			under[key] = below
		}
		d.lay(below, sub, at, p)
	}
}

func holdsTables(v any) bool {
	list, ok := v.([]any)
	return ok && slices.ContainsFunc(list, func(e any) bool {
		_, isTable := e.(map[string]any)
		return isTable
	})
}

// fileOf names the file in which a key stands, or the first one.
func (d *document) fileOf(path string) string {
	if p, ok := d.at[path]; ok {
		return p.file
	}
	return d.file
}

// seenFrom names a place for a message about another one.
func (p position) seenFrom(other position) string {
	if p.file == other.file {
		return fmt.Sprintf("line %d", p.line)
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}
