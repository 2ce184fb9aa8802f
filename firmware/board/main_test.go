package board

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the reports in testdata anew")

// TestMain proves that no test leaves a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(code) // fuzzing has goroutines of its own
	}
	for end := time.Now().Add(10 * time.Second); code == 0 && runtime.NumGoroutine() > 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			fmt.Printf("goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

var fileLine = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

// machine unpacks one of the machines in testdata: files below "-- path --"
// lines, with \0, \n, \xNN in them turned into what they mean.
func machine(t testing.TB, name string) (root string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	paths, parts := fileLine.FindAllStringSubmatch(string(b), -1), fileLine.Split(string(b), -1)
	for i, path := range paths {
		put(t, root, path[1], special.ReplaceAllStringFunc(parts[i+1], meaning))
	}
	return root
}

var special = regexp.MustCompile(`\\(0\b|n|x[0-9a-f]{2})`)

func meaning(s string) string {
	switch s {
	case `\0`:
		return "\x00"
	case `\n`:
		return "\n"
	}
	var c byte
	fmt.Sscanf(s, `\x%02x`, &c)
	return string([]byte{c})
}

func put(t testing.TB, root, path, content string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// said is a file's content, trimmed.
func said(t testing.TB, root, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

// contains wants a piece of text in another.
func contains(t testing.TB, text, piece string) {
	t.Helper()
	if !strings.Contains(text, piece) {
		t.Errorf("%q is not in: %s", piece, text)
	}
}
