package config

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Sample is the documented configuration: explanations behind ##, defaults
// behind #.
//
//go:embed sample.toml
var Sample string

// fileBytesMax bounds a configuration file; the sample has 8 KiB.
const fileBytesMax = 1 << 20

// Load reads and checks a file, makes its relative paths start at its own
// folder, and checks that the files with secrets are there and private.
func Load(file string) (Config, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Config{}, fmt.Errorf("can't read the configuration: %w", err)
	}
	if info.Size() > fileBytesMax {
		return Config{}, fmt.Errorf("%s has %d bytes; a configuration may have %d", file, info.Size(), fileBytesMax)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("can't read the configuration: %w", err)
	}
	doc := &document{file: file}
	c := read(doc, text)
	if len(doc.errors) == 0 {
		c.resolve(filepath.Dir(file))
		c.checkFiles(doc)
	}
	return c, doc.err()
}

// Parse reads a configuration from memory: paths stay as they are, and no file
// is looked at. The file name is for messages.
func Parse(file string, text []byte) (Config, error) {
	doc := &document{file: file}
	c := read(doc, text)
	return c, doc.err()
}

func read(doc *document, text []byte) Config {
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		doc.syntax(err)
		return Config{}
	}
	doc.at = positions(text)
	root := &table{doc: doc, values: values}
	c := Default()
	readConfig(root, &c)
	root.done()
	return c
}

// syntax reports a text that is no TOML.
func (d *document) syntax(err error) {
	e := &Error{File: d.file, Problem: strings.TrimPrefix(err.Error(), "toml: "), Hint: "strings need quotes; `cistern config` prints a sample"}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		e.Line, e.Column = decode.Position()
	}
	d.errors = append(d.errors, e)
}

// err returns what was found, in the order of the file.
func (d *document) err() error {
	if len(d.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	return d.errors
}
