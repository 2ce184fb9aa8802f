package nats

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

const headerLine = "NATS/1.0"

// Header is a message's headers, in order.
type Header []Field

// Field is one header.
type Field struct{ Name, Value string }

// Get returns the first value of a header, and whether there is one. Names are
// compared as they are written, as servers do.
func (h Header) Get(name string) (string, bool) {
	for _, f := range h {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// BeginHeader begins a block of headers in dst.
func BeginHeader(dst []byte) []byte { return append(dst, headerLine+"\r\n"...) }

// AppendField adds a header. The caller has made sure that it can be one: see
// FieldName and FieldValue.
func AppendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendNumber adds a header that is a number.
func AppendNumber(dst []byte, name string, n int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// EndHeader ends the block.
func EndHeader(dst []byte) []byte { return append(dst, "\r\n"...) }

// FieldName reports whether s can be the name of a header: visible ASCII without
// a colon.
func FieldName[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return len(s) > 0
}

// FieldValue reports whether s survives as the value of a header: no control
// characters, and no space at its ends, which readers cut off.
func FieldValue[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return len(s) == 0 || s[0] != ' ' && s[len(s)-1] != ' '
}

// ParseHeader reads a block of headers, and the status that servers put into its
// first line, 0: none.
func ParseHeader(b []byte) (Header, int, error) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte(headerLine)) {
		return nil, 0, fmt.Errorf("%w: headers begin with %.20q", ErrProtocol, line)
	}
	status := 0
	if fields := strings.Fields(string(line[len(headerLine):])); len(fields) > 0 {
		status, _ = strconv.Atoi(fields[0])
	}
	var h Header
	for len(rest) > 0 {
		if line, rest, ok = bytes.Cut(rest, []byte("\r\n")); len(line) == 0 {
			break
		}
		name, value, colon := strings.Cut(string(line), ":")
		if !ok || !colon {
			return nil, 0, fmt.Errorf("%w: a header without an end or a colon", ErrProtocol)
		}
		h = append(h, Field{name, strings.TrimSpace(value)})
	}
	return h, status, nil
}
