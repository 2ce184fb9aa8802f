package config

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
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

// input is one of the files that a configuration is made of.
type input struct {
	file string
	text []byte
}

// Load reads and checks a file, makes its relative paths start at its own
// folder, and checks that the files with secrets are there and private. The
// single keys of an overlay win over those of the file; either may be "".
func Load(file, overlay string) (Config, error) {
	var inputs []input
	for _, name := range []string{file, overlay} {
		if name == "" {
			continue
		}
		in, err := open(name)
		if err != nil {
			return Config{}, err
		}
		inputs = append(inputs, in)
	}
	if len(inputs) == 0 {
		return Default(), nil
	}
	doc := &document{file: inputs[0].file}
	c := read(doc, inputs...)
	if len(doc.errors) == 0 {
		c.resolve(doc)
		c.checkFiles(doc)
	}
	return c, doc.err()
}

func open(file string) (input, error) {
	info, err := os.Stat(file)
	if err != nil {
		return input{}, fmt.Errorf("can't read the configuration: %w", err)
	}
	if info.Size() > fileBytesMax {
		return input{}, fmt.Errorf("%s has %d bytes; a configuration may have %d", file, info.Size(), fileBytesMax)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return input{}, fmt.Errorf("can't read the configuration: %w", err)
	}
	return input{file, text}, nil
}

// Parse reads a configuration from memory: paths stay as they are, and no file
// is looked at. The file name is for messages.
func Parse(file string, text []byte) (Config, error) {
	doc := &document{file: file}
	c := read(doc, input{file, text})
	return c, doc.err()
}

// read takes the values out of a file and what is laid over it.
func read(doc *document, inputs ...input) Config {
	var layers []layer
	for _, in := range inputs {
		in.text = bytes.TrimPrefix(in.text, []byte("\ufeff")) // as some editors begin a file
		values := map[string]any{}
		if err := toml.Unmarshal(in.text, &values); err != nil {
			doc.syntax(in.file, err)
			continue
		}
		layers = append(layers, layer{values, positions(in)})
	}
	if len(doc.errors) > 0 {
		return Config{}
	}
	root := &table{doc: doc, values: doc.stack(layers)}
	c := Default()
	readConfig(root, &c)
	root.done()
	return c
}

// syntax reports a text that is no TOML.
func (d *document) syntax(file string, err error) {
	e := &Error{File: file, Problem: strings.TrimPrefix(err.Error(), "toml: "), Hint: "strings need quotes; `cistern config` prints a sample"}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		e.Line, e.Column = decode.Position()
	}
	d.errors = append(d.errors, e)
}

// err returns what was found, in the order of the files.
func (d *document) err() error {
	if len(d.errors) == 0 {
		return nil
	}
	slices.SortStableFunc(d.errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(d.after(a), d.after(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	return d.errors
}

// after is 1 for what stands in an overlay.
func (d *document) after(e *Error) int {
	if e.File == d.file {
		return 0
	}
	return 1
}
