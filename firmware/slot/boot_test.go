package slot

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestSwitching(t *testing.T) {
	m := newCard(t)
	for _, s := range []Slot{B, B, A, B} {
		before := bytes.Clone(m.b)
		m.writes = nil
		if err := SetDefault(m, s); err != nil {
			t.Fatal(err)
		}
		if got, err := Default(m); got != s || err != nil {
			t.Fatalf("boots %s, %v after switching to %s", got, err, s)
		}
		// One sector, and nothing else: so a power cut leaves the old one or the
		// new one.
		if len(m.writes) != 1 || m.writes[0]%SectorBytes != 0 {
			t.Errorf("wrote at %v", m.writes)
		}
		at := m.writes[0]
		copy(m.b[at:at+SectorBytes], before[at:])
		if !bytes.Equal(m.b, before) {
			t.Error("more than a sector was changed")
		}
		copy(m.b, before)
		if err := SetDefault(m, s); err != nil {
			t.Fatal(err)
		}
	}
}

// A sector that a card did not take is the old one, and whoever reads it finds
// the old slot; what it took and did not keep is noticed at once.
func TestSwitchingOnABrokenCard(t *testing.T) {
	for name, spoil := range map[string]func(m *memory){
		"write": func(m *memory) { m.failAt = 0 },
		"sync":  func(m *memory) { m.failSync = true },
	} {
		m := newCard(t)
		spoil(m)
		if err := SetDefault(m, B); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), AutobootFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := newCard(t)
	if err := SetDefault(m, A); err != nil {
		t.Fatal(err)
	}
	m.flip = m.writes[0] + 20
	if err := SetDefault(m, B); err == nil || !strings.Contains(err.Error(), "reads back") {
		t.Errorf("a card that keeps other bytes: %v", err)
	}
	if _, err := Default(m); !errors.Is(err, ErrBootFile) {
		t.Errorf("a spoiled file reads as %v", err)
	}
	m.flip = -1
	if err := SetDefault(m, B); err != nil {
		t.Errorf("a spoiled file can't be put right: %v", err)
	}
}

func TestTry(t *testing.T) {
	m := newCard(t)
	for _, want := range []bool{true, true, false, true, false} {
		if err := SetTry(m, want); err != nil {
			t.Fatal(err)
		}
		if got, err := Try(m); got != want || err != nil {
			t.Fatalf("try is %v, %v; wrote %v", got, err, want)
		}
	}
	if s, err := Default(m); s != A || err != nil {
		t.Errorf("trying changed what boots: %s, %v", s, err)
	}
}

func TestWhatTheFirmwareReads(t *testing.T) {
	a := AutobootSector(B)
	want := "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
	if got := string(bytes.TrimRight(a[:], "\n")) + "\n"; got != want {
		t.Errorf("%q", got)
	}
}

// Somebody's editor has been at the files: what can be understood is, what can
// be put right is put right, the rest is named.
func TestEditedFiles(t *testing.T) {
	auto := AutobootSector(B)
	short := strings.TrimRight(string(auto[:]), "\n") + "\n"
	card := func(files ...testFile) *memory {
		m := newCard(t)
		clear(m.b[BootStart:])
		fat16(m.b[BootStart:], files)
		return m
	}
	dos := card(testFile{AutobootFile, strings.ReplaceAll(short, "\n", "\r\n")})
	if s, err := Default(dos); s != B || err != nil {
		t.Errorf("with DOS line ends: %s, %v", s, err)
	}
	if err := SetDefault(dos, A); err != nil {
		t.Errorf("with DOS line ends: %v", err)
	}
	if s, err := Default(dos); s != A || err != nil {
		t.Errorf("with DOS line ends, put right: %s, %v", s, err)
	}
	other := card(testFile{AutobootFile, "boot_partition=1\n" + strings.Repeat(" ", 500)})
	if _, err := Default(other); !errors.Is(err, ErrBootFile) {
		t.Errorf("other text: %v", err)
	}
	if err := SetDefault(other, B); err != nil {
		t.Errorf("other text: %v", err)
	}
	padded := card(testFile{AutobootFile, strings.ReplaceAll(string(auto[:]), "\n", "\r\n")})
	if s, err := Default(padded); s != B || err != nil {
		t.Errorf("with DOS line ends to the end: %s, %v", s, err)
	}
	appended := card(testFile{AutobootFile, string(auto[:]) + "[all]\nboot_partition=2\n"})
	if s, err := Default(appended); !errors.Is(err, ErrBootFile) {
		t.Errorf("a second sector that says something else: %s, %v", s, err)
	}
	if err := SetDefault(appended, B); !errors.Is(err, ErrBootFile) {
		t.Errorf("half of it written over: %v", err)
	}
	cut := card(testFile{AutobootFile, "[all]\n"})
	if err := SetDefault(cut, A); err == nil || !strings.Contains(err.Error(), "somebody has edited it") {
		t.Errorf("too short: %v", err)
	}
	if _, err := Default(card(testFile{"config.txt", ""})); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Default(card(testFile{AutobootFile, ""})); !errors.Is(err, ErrFAT) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Default(card()); err == nil {
		t.Error("no files at all")
	}
}

func TestFATReadsWhatIsThere(t *testing.T) {
	m := newMemory(1 << 20)
	long := strings.Repeat("0123456789abcdef", 100)
	fat16(m.b, []testFile{{"a rather long name.json", long}, {"x", "1"}, {"empty", ""}})
	f, err := OpenFAT(m)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A Rather Long Name.json": long, "x": "1", "empty": ""} {
		if b, err := f.ReadFile(name, 1<<20); err != nil || string(b) != want {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	if _, err := f.ReadFile("x", 0); err == nil {
		t.Error("a file larger than the limit was read")
	}
	if _, err := f.ReadFile("x/y", 10); err == nil {
		t.Error("a file was taken for a folder")
	}
	entries, err := f.List("")
	names := make([]string, 0)
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if err != nil || !slices.Equal(names, []string{"a rather long name.json", "x", "empty"}) {
		t.Errorf("%q, %v", names, err)
	}
}

// A FAT may be anybody's: whatever is in it, reading ends, within the limit.
func FuzzFAT(f *testing.F) {
	b := make([]byte, 128<<10)
	fat16(b, []testFile{{AutobootFile, strings.Repeat("x", 2000)}, {"b", "y"}})
	f.Add(b[:96<<10], 60, byte(1))
	f.Add(b[:96<<10], 515, byte(3))
	f.Fuzz(func(t *testing.T, b []byte, at int, v byte) {
		if len(b) > 256<<10 {
			return
		}
		if len(b) > 0 && at >= 0 {
			b[at%len(b)] ^= v
		}
		m := &memory{b: b, failAt: -1, flip: -1}
		fat, err := OpenFAT(m)
		if err != nil {
			return
		}
		entries, err := fat.List("")
		if err != nil {
			return
		}
		for _, e := range entries {
			if b, err := fat.ReadFile(e.Name, 64<<10); err == nil && len(b) > 64<<10 {
				t.Errorf("%q: %d bytes", e.Name, len(b))
			}
			if e.Folder {
				fat.List(e.Name)
			}
		}
	})
}
