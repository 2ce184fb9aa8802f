package image

import (
	"bytes"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"testing"
)

// entry is what the kernel would see.
type entry struct {
	name                                 string
	mode, uid, links, time, major, minor uint64
	content                              string
}

// readCPIO reads the format as the kernel's documentation has it, with every
// field in its place.
func readCPIO(t *testing.T, b []byte) []entry {
	t.Helper()
	var out []entry
	at := 0
	take := func(n int) []byte {
		if at+n > len(b) {
			t.Fatalf("ends at %d of %d", len(b), at+n)
		}
		at += n
		return b[at-n : at]
	}
	align := func() {
		for at%4 != 0 {
			if take(1)[0] != 0 {
				t.Fatalf("padding at %d is not zero", at-1)
			}
		}
	}
	for {
		if magic := string(take(6)); magic != "070701" {
			t.Fatalf("magic %q at %d", magic, at-6)
		}
		var f [13]uint64
		for i := range f {
			var err error
			if f[i], err = strconv.ParseUint(string(take(8)), 16, 32); err != nil {
				t.Fatal(err)
			}
		}
		name := strings.TrimSuffix(string(take(int(f[11]))), "\x00")
		align()
		content := string(take(int(f[6])))
		align()
		if name == cpioTrailer {
			if at != len(b) {
				t.Fatalf("%d bytes after the trailer", len(b)-at)
			}
			return out
		}
		out = append(out, entry{name, f[1], f[2] | f[3], f[4], f[5], f[9], f[10], content})
	}
}

func TestCPIO(t *testing.T) {
	nodes := []Node{
		{Path: "dev", Mode: fs.ModeDir | 0o755},
		{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1},
		{Path: "init", Mode: 0o755, Content: []byte("12345")},
		{Path: "empty", Mode: 0o644},
		{Path: "four", Mode: 0o644, Content: []byte("1234")},
	}
	var b bytes.Buffer
	if err := WriteCPIO(&b, nodes, 1700000000); err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"dev", 0o040755, 0, 2, 1700000000, 0, 0, ""},
		{"dev/console", 0o020600, 0, 1, 1700000000, 5, 1, ""},
		{"init", 0o100755, 0, 1, 1700000000, 0, 0, "12345"},
		{"empty", 0o100644, 0, 1, 1700000000, 0, 0, ""},
		{"four", 0o100644, 0, 1, 1700000000, 0, 0, "1234"},
	}
	if got := readCPIO(t, b.Bytes()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestCPIOTakesNoLinks(t *testing.T) {
	err := WriteCPIO(&bytes.Buffer{}, []Node{{Path: "link", Mode: fs.ModeSymlink | 0o777}}, 0)
	if err == nil || !strings.Contains(err.Error(), "link") {
		t.Error(err)
	}
}

// What the kernel and Go's runtime need before init can say anything.
func TestTheSystemHasWhatItNeeds(t *testing.T) {
	s := system{init: []byte("i"), agent: []byte("a"), fsck: []byte("f"), roots: []byte("r")}
	var b bytes.Buffer
	if err := WriteCPIO(&b, s.nodes(), 0); err != nil {
		t.Fatal(err)
	}
	seen := map[string]entry{}
	for _, e := range readCPIO(t, b.Bytes()) {
		if i := strings.LastIndexByte(e.name, '/'); i > 0 && seen[e.name[:i]].mode&0o170000 != cpioFolder {
			t.Errorf("%s comes before its folder", e.name)
		}
		seen[e.name] = e
	}
	for name, mode := range map[string]uint64{
		"init": 0o100755, "bin/cistern": 0o100755, "sbin/e2fsck": 0o100755, "dev/console": 0o020600, "dev/null": 0o020666, "data": 0o040755,
	} {
		if seen[name].mode != mode {
			t.Errorf("%s has mode %o, not %o", name, seen[name].mode, mode)
		}
	}
	if e := seen["dev/null"]; e.major != 1 || e.minor != 3 {
		t.Errorf("dev/null is %d:%d", e.major, e.minor)
	}
	if _, there := seen[publicPath]; there {
		t.Error("a key that nobody gave is in it")
	}
}

func TestTheBuildIsWhatIsInIt(t *testing.T) {
	base := func() ([]Node, files) {
		return system{init: []byte("i"), agent: []byte("a"), fsck: []byte("f"), roots: []byte("r")}.nodes(), files{"kernel": []byte("k")}
	}
	nodes, board := base()
	id := buildID(nodes, board)
	if n, b := base(); buildID(n, b) != id {
		t.Error("the same system is another build")
	}
	for name, change := range map[string]func(n []Node, b files){
		"kernel": func(_ []Node, b files) { b["kernel"] = []byte("l") },
		"file":   func(_ []Node, b files) { b["x"] = nil },
		"init": func(n []Node, _ files) {
			for i := range n {
				if n[i].Path == "init" {
					n[i].Content = []byte("j")
				}
			}
		},
		"mode": func(n []Node, _ files) { n[0].Mode ^= 1 },
	} {
		n, b := base()
		change(n, b)
		if buildID(n, b) == id {
			t.Errorf("with another %s it is the same build", name)
		}
	}
	if u := uuid(id, "data"); len(u) != 36 || u[14] != '4' || u == uuid(id, "other") {
		t.Errorf("uuid %s", u)
	}
}
