package vfs

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

const seedsPerCase = 200

var tears = []Tear{
	{512, Lost}, {512, Kept}, {512, Mixed}, {512, Noisy},
	{4096, Lost}, {4096, Kept}, {4096, Mixed}, {4096, Noisy},
}

// durableFile returns a PowerCut with one file, f, that nothing can take away.
func durableFile(t *testing.T, content string) *PowerCut {
	t.Helper()
	p := NewPowerCut()
	writeFile(t, p, "f", content)
	syncFile(t, p, "f")
	wantErr(t, "sync folder", p.SyncDir("."), nil)
	return p
}

// outcomes crashes p with many seeds and counts what f then holds.
func outcomes(t *testing.T, p *PowerCut, name string, tear Tear) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(seedsPerCase) {
		seen[readFile(t, p.Crash(seed, tear), name)]++
	}
	return seen
}

// wantOutcomes fails unless exactly these were seen.
func wantOutcomes(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("never %.20q", w)
		}
		delete(seen, w)
	}
	for s, n := range seen {
		t.Errorf("%d times %.40q (%d bytes)", n, s, len(s))
	}
}

func TestSyncedDataSurvivesEveryCrash(t *testing.T) {
	content := strings.Repeat("synced ", 2000)
	p := durableFile(t, content)
	for _, tear := range tears {
		wantOutcomes(t, outcomes(t, p, "f", tear), content)
	}
}

func TestUnsyncedWrites(t *testing.T) {
	before, after := strings.Repeat("b", 3*PageSize), strings.Repeat("A", 3*PageSize)
	p := durableFile(t, before)
	writeFile(t, p, "f", after)

	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Lost}), before)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Kept}), after)
	for _, tear := range tears {
		if tear.Unsynced != Mixed && tear.Unsynced != Noisy {
			continue
		}
		seen := outcomes(t, p, "f", tear)
		if seen[before] == 0 || seen[after] == 0 || len(seen) < 4 {
			t.Errorf("%+v: lost %d, kept %d, %d ways in all", tear, seen[before], seen[after], len(seen))
		}
		noise := 0
		for got := range seen {
			if len(got) != len(before) {
				t.Fatalf("%+v: %d bytes", tear, len(got))
			}
			noise += checkSectors(t, got, tear)
		}
		if (noise > 0) != (tear.Unsynced == Noisy) {
			t.Errorf("%+v: %d sectors of noise", tear, noise)
		}
	}
}

// checkSectors fails if a sector is partly new, and counts those that are
// neither old nor new.
func checkSectors(t *testing.T, content string, tear Tear) (noise int) {
	t.Helper()
	for at := 0; at < len(content); at += tear.Sector {
		switch sector := content[at : at+tear.Sector]; {
		case strings.Count(sector, "A") == len(sector), strings.Count(sector, "b") == len(sector):
		case tear.Unsynced == Noisy:
			noise++
		default:
			t.Fatalf("%+v: sector %d is half written", tear, at/tear.Sector)
		}
	}
	return noise
}

// The device may have written any of the versions that the cache went through.
func TestOlderVersionsMaySurvive(t *testing.T) {
	p := durableFile(t, "version 0")
	writeFile(t, p, "f", "version 1")
	writeFile(t, p, "f", "version 2")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "version 0", "version 1", "version 2")
}

// A torn page may damage its own bytes only.
func TestNeighbouringPagesStayWhole(t *testing.T) {
	p := durableFile(t, strings.Repeat("b", 3*PageSize))
	f, err := p.Open("f")
	wantErr(t, "open", err, nil)
	if _, err := f.WriteAt(bytes.Repeat([]byte("A"), 100), PageSize+1000); err != nil {
		t.Fatal(err)
	}
	for _, tear := range tears {
		for got := range outcomes(t, p, "f", tear) {
			if strings.Trim(got[:PageSize]+got[2*PageSize:], "b") != "" {
				t.Fatalf("%+v: a page that was not written changed", tear)
			}
		}
	}
}

func TestUnsyncedGrowth(t *testing.T) {
	p := durableFile(t, "one")
	writeFile(t, p, "f", "one, two")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Lost}), "one")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Kept}), "one, two")
	// The size may be there before the bytes are.
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "one", "one, two", "one\x00\x00\x00\x00\x00")

	// What was lost behind the end does not come back when the file grows.
	for seed := range uint64(seedsPerCase) {
		after := p.Crash(seed, Tear{512, Mixed})
		if readFile(t, after, "f") != "one" {
			continue
		}
		f, _ := after.Open("f")
		f.WriteAt([]byte("!"), 9)
		if got := readFile(t, after, "f"); got != "one\x00\x00\x00\x00\x00\x00!" {
			t.Fatalf("seed %d: grown again, it holds %q", seed, got)
		}
	}
}

// A file that grew by several pages may have grown by some of them.
func TestGrowthMayStopHalfWay(t *testing.T) {
	p := durableFile(t, "")
	writeFile(t, p, "f", strings.Repeat("A", 3*PageSize))
	sizes := map[int]bool{}
	for got := range outcomes(t, p, "f", Tear{4096, Mixed}) {
		sizes[len(got)] = true
	}
	if len(sizes) != 4 {
		t.Errorf("sizes seen: %v", sizes)
	}
}

// Sync saves a file's content, and only SyncDir its name.
func TestNamesNeedSyncDir(t *testing.T) {
	p := NewPowerCut()
	writeFile(t, p, "f", "content")
	syncFile(t, p, "f")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Lost}), "missing")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Kept}), "content")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "missing", "content")
	wantErr(t, "sync folder", p.SyncDir("."), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Noisy}), "content")

	wantErr(t, "remove", p.Remove("f"), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Lost}), "content")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Kept}), "missing")
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "missing", "content")
	wantErr(t, "sync folder", p.SyncDir("."), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "missing")
}

func TestRenameIsAtomicButNotDurable(t *testing.T) {
	p := durableFile(t, "old")
	writeFile(t, p, "tmp", "new")
	syncFile(t, p, "tmp")
	wantErr(t, "sync folder", p.SyncDir("."), nil)
	wantErr(t, "rename", p.Rename("tmp", "f"), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "old", "new")
	for seed := range uint64(seedsPerCase) {
		after := p.Crash(seed, Tear{512, Mixed})
		if f, tmp := readFile(t, after, "f"), readFile(t, after, "tmp"); f+tmp != "oldnew" && f+tmp != "newmissing" {
			t.Fatalf("seed %d: f is %s, tmp is %s", seed, f, tmp)
		}
	}
	wantErr(t, "sync folder", p.SyncDir("."), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "new")
}

// A chain of renames, as recycling a segment makes them, never leaves a file
// with two names or makes an older change undo a synced one.
func TestChainsOfRenames(t *testing.T) {
	p := NewPowerCut()
	wantErr(t, "mkdir", p.MkdirAll("x"), nil)
	wantErr(t, "mkdir", p.MkdirAll("y"), nil)
	wantErr(t, "sync root", p.SyncDir("."), nil)
	writeFile(t, p, "x/a", "content")
	syncFile(t, p, "x/a")
	wantErr(t, "rename", p.Rename("x/a", "x/b"), nil)
	wantErr(t, "rename", p.Rename("x/b", "y/c"), nil)
	for seed := range uint64(seedsPerCase) {
		after := p.Crash(seed, Tear{512, Mixed})
		found := 0
		for _, name := range []string{"x/a", "x/b", "y/c"} {
			if readFile(t, after, name) == "content" {
				found++
			}
		}
		if found > 1 {
			t.Fatalf("seed %d: the file has %d names", seed, found)
		}
	}
	wantErr(t, "sync y", p.SyncDir("y"), nil)
	wantOutcomes(t, outcomes(t, p, "y/c", Tear{512, Mixed}), "content")
}

func TestFoldersNeedTheirParentSynced(t *testing.T) {
	p := NewPowerCut()
	wantErr(t, "mkdir", p.MkdirAll("data/segments"), nil)
	writeFile(t, p, "data/segments/f", "content")
	syncFile(t, p, "data/segments/f")
	wantErr(t, "sync folder", p.SyncDir("data/segments"), nil)
	wantOutcomes(t, outcomes(t, p, "data/segments/f", Tear{512, Mixed}), "missing", "content")
	wantErr(t, "sync parent", p.SyncDir("data"), nil)
	wantErr(t, "sync root", p.SyncDir("."), nil)
	wantOutcomes(t, outcomes(t, p, "data/segments/f", Tear{512, Mixed}), "content")
}

func TestCutAfter(t *testing.T) {
	p := durableFile(t, "before")
	f, err := p.Open("f")
	wantErr(t, "open", err, nil)
	p.CutAfter(p.Ops() + 1)
	_, err = f.WriteAt([]byte("first "), 0)
	wantErr(t, "the last write", err, nil)
	_, err = f.WriteAt([]byte("second"), 0)
	wantErr(t, "the write that is cut", err, ErrPowerCut)
	if p.CutAt() != "write f" {
		t.Errorf("cut at %q", p.CutAt())
	}
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, "read", err, ErrPowerCut)
	wantErr(t, "sync", f.Sync(), ErrPowerCut)
	_, err = p.Open("f")
	wantErr(t, "open", err, ErrPowerCut)
	wantErr(t, "rename", p.Rename("f", "g"), ErrPowerCut)
	wantErr(t, "mkdir", p.MkdirAll("d"), ErrPowerCut)
	_, err = p.List(".")
	wantErr(t, "list", err, ErrPowerCut)
	_, err = p.Lock("l")
	wantErr(t, "lock", err, ErrPowerCut)
	// The write that was cut may have come through, what followed may not.
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "before", "first ", "second")
	wantOutcomes(t, outcomes(t, p, "g", Tear{512, Mixed}), "missing")
}

func TestCutSyncMakesNothingCertain(t *testing.T) {
	p := durableFile(t, "old")
	writeFile(t, p, "f", "new")
	p.CutAfter(p.Ops())
	f, _ := p.Open("f")
	wantErr(t, "sync", f.Sync(), ErrPowerCut)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "old", "new")

	p = NewPowerCut()
	writeFile(t, p, "f", "content")
	syncFile(t, p, "f")
	p.CutAfter(p.Ops())
	wantErr(t, "sync folder", p.SyncDir("."), ErrPowerCut)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "missing", "content")
}

func TestCrashIsDeterministicAndLeavesTheOriginal(t *testing.T) {
	p := durableFile(t, strings.Repeat("b", 8*PageSize))
	writeFile(t, p, "f", strings.Repeat("A", 8*PageSize))
	writeFile(t, p, "g", "unsynced")
	tear := Tear{512, Noisy}
	different := 0
	for seed := range uint64(20) {
		one, two := p.Crash(seed, tear), p.Crash(seed, tear)
		if readFile(t, one, "f") != readFile(t, two, "f") || readFile(t, one, "g") != readFile(t, two, "g") {
			t.Fatalf("seed %d gave two results", seed)
		}
		if readFile(t, one, "f") != readFile(t, p.Crash(seed+1, tear), "f") {
			different++
		}
		writeFile(t, one, "f", "changed")
	}
	if different == 0 {
		t.Error("all seeds give the same")
	}
	if readFile(t, p, "f") != strings.Repeat("A", 8*PageSize) {
		t.Error("crashing changed the original")
	}
}

func TestLocksEndWithThePower(t *testing.T) {
	p := NewPowerCut()
	if _, err := p.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Crash(1, Tear{512, Kept}).Lock("lock"); err != nil {
		t.Error(err)
	}
}

func TestCapacity(t *testing.T) {
	p := durableFile(t, "x")
	p.SetCapacity(3 * PageSize)
	f, _ := p.Open("f")
	_, err := f.WriteAt(make([]byte, 3*PageSize), 0)
	wantErr(t, "write what fits", err, nil)
	_, err = f.WriteAt([]byte("x"), 3*PageSize)
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("write beyond the device: %v", err)
	}
	if u, _ := p.Usage("."); u != (Usage{Total: 3 * PageSize}) {
		t.Errorf("usage is %+v", u)
	}
	wantErr(t, "remove", p.Remove("f"), nil)
	if u, _ := p.Usage("."); u.Available != 3*PageSize {
		t.Errorf("after the remove, usage is %+v", u)
	}
}

// The double is worth something only if it catches whoever is careless: the same
// journal is run with each habit left out, and cut at every operation.
func TestItCatchesCarelessJournals(t *testing.T) {
	for _, test := range []struct {
		name    string
		journal journal
		safe    bool
	}{
		{"careful", journal{stride: PageSize, syncFile: true, syncName: true}, true},
		{"content not synced", journal{stride: PageSize, syncName: true}, false},
		{"name not synced", journal{stride: PageSize, syncFile: true}, false},
		{"page of a confirmed record written again", journal{stride: 700, syncFile: true, syncName: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := NewPowerCut()
			test.journal.run(whole)
			lost := 0
			for n := range whole.Ops() + 1 {
				p := NewPowerCut()
				p.CutAfter(n)
				confirmed := test.journal.run(p)
				for seed := range uint64(10) {
					for _, tear := range tears {
						if test.journal.count(t, p.Crash(seed, tear)) < confirmed {
							lost++
						}
					}
				}
			}
			if (lost == 0) != test.safe {
				t.Errorf("%d crashes lost confirmed records", lost)
			}
		})
	}
}

// journal appends records of 700 bytes to a file.
type journal struct {
	stride             int // from record to record
	syncFile, syncName bool
}

const journalRecords = 6

func (j journal) record(i int) []byte { return bytes.Repeat([]byte{byte('0' + i)}, 700) }

// run returns how many records it called safe before the power went.
func (j journal) run(p *PowerCut) (confirmed int) {
	f, err := p.Create("journal")
	if err != nil || j.syncName && p.SyncDir(".") != nil {
		return 0
	}
	for i := range journalRecords {
		if _, err := f.WriteAt(j.record(i), int64(i*j.stride)); err != nil {
			break
		}
		if j.syncFile && f.Sync() != nil {
			break
		}
		confirmed++
	}
	return confirmed
}

// count returns how many records are whole.
func (j journal) count(t *testing.T, p *PowerCut) (whole int) {
	content := readFile(t, p, "journal")
	for i := range journalRecords {
		if !strings.HasPrefix(content[min(len(content), i*j.stride):], string(j.record(i))) {
			break
		}
		whole++
	}
	return whole
}

func TestReadAtOfHolesAndFarOffsets(t *testing.T) {
	p := NewPowerCut()
	f, _ := p.Create("f")
	if _, err := f.WriteAt([]byte("x"), 5*PageSize); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, PageSize)
	if n, err := f.ReadAt(b, 2*PageSize+7); n != len(b) || err != nil || !bytes.Equal(b, make([]byte, PageSize)) {
		t.Errorf("hole: %d, %v", n, err)
	}
	if _, err := f.ReadAt(b, math.MaxInt64-1); err != io.EOF {
		t.Errorf("far behind the end: %v", err)
	}
	if _, err := f.ReadAt(b, -1); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("negative offset: %v", err)
	}
	if _, err := f.WriteAt(b, math.MaxInt64-1); err == nil {
		t.Error("a write at the end of all offsets succeeded")
	}
}
