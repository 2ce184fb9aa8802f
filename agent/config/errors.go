package config

import (
	"fmt"
	"strings"
)

// Error is one thing about a configuration that can't be.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 when the place is the whole file
	Key          string // as a path: stream[1].commit_window
	Problem      string // what is wrong, and what is allowed
	Hint         string // what was probably meant, or what to do; may be empty
}

// Error says where, what and what to do in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, ": %s", e.Key)
	}
	fmt.Fprintf(&b, ": %s", e.Problem)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Errors are all the problems of one file, in the file's order.
type Errors []*Error

// Error gives each problem a line of its own.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single problem.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, err := range e {
		all[i] = err
	}
	return all
}
