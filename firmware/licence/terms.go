// Package licence answers one question: under which terms is what is linked into a
// program handed out, and what do they say? It reads what the program itself says
// is in it, and the texts that lie beside the sources it was made from.
package licence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// phrases are what licences can be told by, as SPDX names them. A text may hold
// several: klauspost/compress says which of its files are under which.
var phrases = []struct{ id, text, not string }{
	{id: "Apache-2.0", text: "apache license version 2.0, january 2004"},
	{id: "BSD-2-Clause", text: "redistribution and use in source and binary forms", not: "neither the name"},
	{id: "BSD-3-Clause", text: "neither the name"},
	{id: "EPL-2.0", text: "eclipse public license - v 2.0"},
	{id: "MIT", text: "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{id: "MPL-2.0", text: "mozilla public license version 2.0"},
}

// identify returns the licence of a text as an SPDX expression.
func identify(text string) (string, error) {
	plain := strings.Join(strings.Fields(strings.ToLower(text)), " ")
	plain = strings.ReplaceAll(plain, "mozilla public license, version", "mozilla public license version")
	var found []string
	for _, p := range phrases {
		if strings.Contains(plain, p.text) && (p.not == "" || !strings.Contains(plain, p.not)) {
			found = append(found, p.id)
		}
	}
	if len(found) == 0 {
		return "", errors.New("no licence that is known here: read it, see whether it may be handed out with us, and add it to firmware/licence/terms.go")
	}
	return strings.Join(found, " AND "), nil
}

// Terms are what somebody's code may be handed out under.
type Terms struct {
	ID   string // as SPDX writes it
	Text string // the licence and, if there is one, the notice
}

// Read reads them in a module's folder.
func Read(dir string) (Terms, error) {
	licence, err := readFirst(dir, "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "license", "COPYING")
	if err != nil {
		return Terms{}, err
	}
	id, err := identify(licence)
	if err != nil {
		return Terms{}, fmt.Errorf("%s: %w", dir, err)
	}
	notice, err := readFirst(dir, "NOTICE", "NOTICE.md", "NOTICE.txt")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Terms{}, err
	}
	return Terms{id, strings.TrimSpace(licence + "\n" + notice)}, nil
}

func readFirst(dir string, names ...string) (string, error) {
	i := slices.IndexFunc(names, func(n string) bool {
		_, err := os.Stat(filepath.Join(dir, n))
		return err == nil
	})
	if i < 0 {
		return "", fmt.Errorf("%s has none of %s: %w", dir, strings.Join(names, ", "), os.ErrNotExist)
	}
	b, err := os.ReadFile(filepath.Join(dir, names[i]))
	return string(b), err
}
