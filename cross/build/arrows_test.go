package build

import (
	"slices"
	"strings"
	"testing"
)

// rooms from right to left: a package may use its own room and what stands
// before it in this list.
//
//	cross ──▶ agent ──▶ bridge ──▶ segstore ──▶ gossip      agent ──▶ firmware
var rooms = []string{"gossip", "segstore", "bridge", "agent", "cross"}

// allowed tells whether a package of room from may import one of room to.
func allowed(from, to string) bool {
	if to == "firmware" {
		return from == "firmware" || from == "agent" || from == "cross"
	}
	if from == "firmware" {
		return false
	}
	return slices.Index(rooms, to) <= slices.Index(rooms, from)
}

// room returns the first folder of one of our import paths, or "".
func room(path string) string {
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := room(p.ImportPath)
		if from != "firmware" && !slices.Contains(rooms, from) {
			t.Errorf("%s is in no room of the house: %v", p.ImportPath, rooms)
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if to := room(imported); to != "" && !allowed(from, to) {
				t.Errorf("%s imports %s, against the arrows", p.ImportPath, imported)
			}
		}
	}
}

func TestArrows(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cross", "agent", true},
		{"agent", "firmware", true},
		{"segstore", "gossip", true},
		{"segstore", "segstore", true},
		{"segstore", "bridge", false},
		{"gossip", "segstore", false},
		{"bridge", "firmware", false},
		{"firmware", "gossip", false},
		{"agent", "cross", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("%s importing %s: allowed is %v", c.from, c.to, got)
		}
	}
}

// A package that can't say in a sentence what it is has no reason to be one.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t, "./...") {
		if len(p.GoFiles) > 0 && strings.Count(p.Doc, " ") < 4 {
			t.Errorf("%s has no package comment: %q", p.ImportPath, p.Doc)
		}
	}
}
