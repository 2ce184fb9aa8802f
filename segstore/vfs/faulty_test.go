package vfs

import (
	"strings"
	"syscall"
	"testing"
)

func TestRulesPickTheirOperations(t *testing.T) {
	faulty := NewFaulty(NewPowerCut())
	rule := faulty.Inject(Rule{Op: OpWrite, Path: "*.seg", Skip: 1, Fail: 2, Err: syscall.ENOSPC})
	seg, err := faulty.Create("1.seg")
	wantErr(t, "create", err, nil)
	other, err := faulty.Create("1.idx")
	wantErr(t, "create", err, nil)

	for i, want := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		select {
		case <-rule.Hit():
			if i < 2 {
				t.Errorf("before write %d the rule says it was hit", i)
			}
		default:
			if i >= 2 {
				t.Errorf("before write %d the rule says it was not hit", i)
			}
		}
		_, err := seg.WriteAt([]byte("x"), 0)
		wantErr(t, "write", err, want)
		_, err = other.WriteAt([]byte("x"), 0)
		wantErr(t, "write to another file", err, nil)
		wantErr(t, "sync", seg.Sync(), nil)
	}
	if rule.Hits() != 2 {
		t.Errorf("%d hits", rule.Hits())
	}
}

func TestEveryOperationCanFail(t *testing.T) {
	under := NewPowerCut()
	faulty := NewFaulty(under)
	f, err := faulty.Create("f")
	wantErr(t, "create", err, nil)
	calls := map[Op]func() error{
		OpCreate:    func() error { _, err := faulty.Create("new"); return err },
		OpOpen:      func() error { _, err := faulty.Open("f"); return err },
		OpRename:    func() error { return faulty.Rename("f", "g") },
		OpRemove:    func() error { return faulty.Remove("f") },
		OpMkdir:     func() error { return faulty.MkdirAll("d") },
		OpList:      func() error { _, err := faulty.List("."); return err },
		OpSyncDir:   func() error { return faulty.SyncDir(".") },
		OpUsage:     func() error { _, err := faulty.Usage("."); return err },
		OpLock:      func() error { _, err := faulty.Lock("l"); return err },
		OpRead:      func() error { _, err := f.ReadAt(nil, 0); return err },
		OpWrite:     func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		OpSync:      func() error { return f.Sync() },
		OpSize:      func() error { _, err := f.Size(); return err },
		OpDropCache: func() error { return f.DropCache() },
	}
	before := under.Ops()
	for op, call := range calls {
		rule := faulty.Inject(Rule{Op: op})
		wantErr(t, string(op), call(), syscall.EIO)
		wantErr(t, string(op)+" again", call(), syscall.EIO)
		if rule.Hits() != 2 {
			t.Errorf("%s: %d hits", op, rule.Hits())
		}
		faulty.Clear()
	}
	if _, err := faulty.OpenRead("f"); err != nil {
		t.Error(err)
	}
	if under.Ops() != before {
		t.Error("an operation failed and happened")
	}
	wantErr(t, "write after Clear", calls[OpWrite](), nil)
}

func TestShortWrite(t *testing.T) {
	faulty := NewFaulty(NewPowerCut())
	f, _ := faulty.Create("f")
	faulty.Inject(Rule{Op: OpWrite, Err: syscall.ENOSPC, Short: 4})
	n, err := f.WriteAt([]byte("full device"), 0)
	wantErr(t, "write", err, syscall.ENOSPC)
	if got := readFile(t, faulty, "f"); n != 4 || got != "full" {
		t.Errorf("%d bytes written, the file holds %q", n, got)
	}
}

// As Linux does it: after a failed Sync reads still show what was written, the
// next Sync succeeds, and the device never gets it.
func TestFailedSyncLosesWhatWasDirty(t *testing.T) {
	under := durableFile(t, "old")
	faulty := NewFaulty(&SlowCard{FS: under}) // through another layer, too
	f, err := faulty.Open("f")
	wantErr(t, "open", err, nil)
	faulty.Inject(Rule{Op: OpSync, Fail: 1})

	f.WriteAt([]byte("new"), 0)
	wantErr(t, "the sync that fails", f.Sync(), syscall.EIO)
	if got := readFile(t, faulty, "f"); got != "new" {
		t.Errorf("the cache shows %q", got)
	}
	wantErr(t, "the sync after it", f.Sync(), nil)
	wantOutcomes(t, outcomes(t, under, "f", Tear{512, Lost}), "old")
	wantOutcomes(t, outcomes(t, under, "f", Tear{512, Kept}), "old")
	// The device may have got some of it before it failed.
	wantOutcomes(t, outcomes(t, under, "f", Tear{512, Mixed}), "old", "new")

	wantErr(t, "drop cache", f.DropCache(), nil)
	if got := readFile(t, faulty, "f"); got != "old" {
		t.Errorf("the device shows %q", got)
	}
	wantOutcomes(t, outcomes(t, under, "f", Tear{512, Mixed}), "old")
}

// Only what was dirty then is lost; what is written later can be saved.
func TestWritesAfterAFailedSyncCanBeSaved(t *testing.T) {
	under := durableFile(t, strings.Repeat("b", 2*PageSize))
	faulty := NewFaulty(under)
	f, _ := faulty.Open("f")
	rule := faulty.Inject(Rule{Op: OpSync, Fail: 1})
	f.WriteAt([]byte("lost"), 0)
	wantErr(t, "sync", f.Sync(), syscall.EIO)
	f.WriteAt([]byte("saved"), PageSize)
	wantErr(t, "sync", f.Sync(), nil)
	wantErr(t, "drop cache", f.DropCache(), nil)
	got := readFile(t, faulty, "f")
	if got[:4] != "bbbb" || got[PageSize:PageSize+5] != "saved" || rule.Hits() != 1 {
		t.Errorf("pages begin with %q and %q", got[:4], got[PageSize:PageSize+5])
	}
}

// DropCache drops clean pages only: what waits to be written must stay.
func TestDropCacheKeepsDirtyPages(t *testing.T) {
	p := durableFile(t, "old")
	writeFile(t, p, "f", "new")
	f, _ := p.Open("f")
	wantErr(t, "drop cache", f.DropCache(), nil)
	if got := readFile(t, p, "f"); got != "new" {
		t.Errorf("got %q", got)
	}
	wantErr(t, "sync", f.Sync(), nil)
	wantOutcomes(t, outcomes(t, p, "f", Tear{512, Mixed}), "new")
}
