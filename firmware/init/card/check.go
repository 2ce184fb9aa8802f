package card

import "fmt"

// Verdict is what a check of the data partition means.
type Verdict struct {
	Mount bool   // it may be written to
	Said  string // for the console and the machine's state
	Do    string // what a person has to do; empty if nothing
}

// The bits of e2fsck's exit code (e2fsck(8)).
const (
	fsckCorrected   = 1
	fsckReboot      = 2
	fsckUncorrected = 4
	fsckFailed      = 8
	fsckUsage       = 16
	fsckCanceled    = 32
	fsckLibrary     = 128
)

// Judge reads the exit code of e2fsck -p. Below 4 the file system is sound.
// From 4 on something is left that only a person should decide about, since
// e2fsck -y may throw away what was confirmed: nothing is mounted then, so
// that nothing is written over either.
func Judge(code int) Verdict {
	const repair = "Copy the card first, then repair the copy or the card on another machine: e2fsck -f /dev/sdX4, " +
		"and answer its questions. On a site the others hold copies: a new card, and `cistern site forget` for this one, is the other way."
	switch {
	case code == 0:
		return Verdict{Mount: true, Said: "clean"}
	case code&^(fsckCorrected|fsckReboot) == 0 && code > 0:
		return Verdict{Mount: true, Said: "repaired by the file system's own journal and checks"}
	case code > 0 && code&(fsckFailed|fsckUsage|fsckCanceled|fsckLibrary) != 0:
		return Verdict{
			Said: fmt.Sprintf("could not be checked (e2fsck exit %d)", code),
			Do:   "The card may not be readable any more, or be no card of Cistern. " + repair,
		}
	case code > 0 && code&fsckUncorrected != 0:
		return Verdict{Said: fmt.Sprintf("damaged beyond what is repaired without asking (e2fsck exit %d)", code), Do: repair}
	}
	return Verdict{Said: fmt.Sprintf("could not be checked: e2fsck ended by itself (%d)", code), Do: repair}
}

// Kind is a file system that data can be on.
type Kind string

const (
	Ext4 Kind = "ext4"
	F2FS Kind = "f2fs"
)

// Options are the mount options for the data partition: for the kernel's flags,
// see the caller.
//
// What counts is the journal's fdatasync; everything here is about what else is
// written, since that wears the card and waits in front of it.
func Options(k Kind) string {
	if k == F2FS {
		// fsync_mode=posix: an fdatasync flushes the card's cache, as ext4 does.
		return "fsync_mode=posix,background_gc=on"
	}
	// data=ordered: only metadata goes through ext4's journal. The store's own
	// checksums find what is torn; data=journal would write every record twice.
	//
	// commit=30: what nobody has synced (sizes and times of the log's files) may
	// wait that long instead of 5 s. What was confirmed was synced, and is not
	// concerned. Six times fewer commits of an idle gateway.
	//
	// errors=remount-ro: a file system that finds itself damaged must not go on
	// writing; the agent latches and says so.
	//
	// barrier=1 is the default, and said because everything hangs on it: a flush
	// of the card's cache with every commit.
	//
	// nodiscard: trimming with every deletion stalls cheap cards for seconds.
	// The store writes its segments over in place and hardly frees anything.
	return "data=ordered,commit=30,errors=remount-ro,barrier=1,nodiscard"
}
