package main

import (
	"bytes"
	"testing"
	"time"
)

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10200: "10 KiB", 1023 * 1024: "1.0 MiB", 5 << 30: "5.0 GiB", 1 << 62: "4096 PiB",
	} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1: "-1", -1234: "-1,234"} {
		if got := humanCount(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min", 125 * time.Minute: "2 h 5 min", 76 * time.Hour: "3 d 4 h",
	} {
		if got := humanAge(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := humanSeconds(-1); got != "-" {
		t.Errorf("none: %q", got)
	}
	if got := humanSeconds(1e300); got != "11574 d 1 h" {
		t.Errorf("endless: %q", got)
	}
}

// What a device sends must not be able to do anything to a terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		`{"c":1}`: `{"c":1}`, "grün\t": "grün\t", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb": `a\nb`, "\xff": `\xff`,
		"\u202e\"x\"": `\u202e"x"`, "\u009b": `\u009b`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var tab table
	tab.row("NAME", "N")
	tab.row("grün", "10")
	tab.row("x", "1,000")
	var b bytes.Buffer
	tab.write(&b)
	if want := "NAME      N\ngrün     10\nx     1,000\n"; b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
