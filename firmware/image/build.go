package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"cistern/firmware/slot"
)

// Options say what to make.
type Options struct {
	Source Source
	Board  string
	// Site says which updates the system takes, and what its boards need.
	Site Site
	// Cache keeps what was downloaded and compiled.
	Cache string
	// Binaries, when given, are not compiled.
	Binaries Binaries
	// Log is told what is being done; may be nil.
	Log func(string)
}

func (o *Options) say(format string, args ...any) {
	if o.Log != nil {
		o.Log(fmt.Sprintf(format, args...))
	}
}

// System is a slot's content: what an image has twice and an update once.
type System struct {
	Release slot.Release
	// Image is the slot's FAT, without the empty end.
	Image []byte
}

// Build makes a system. It compiles, downloads what is not in the cache, and
// writes nothing but the cache.
func Build(ctx context.Context, o Options) (System, error) {
	if commandLines[o.Board] == "" {
		return System{}, fmt.Errorf("board %q: there are %s and %s", o.Board, slot.BoardPi, slot.BoardQemu)
	}
	// What must be there is looked for before minutes are spent.
	for _, tool := range []string{"mformat", "mcopy", "mmd", "mke2fs"} {
		if _, err := need(tool); err != nil {
			return System{}, err
		}
	}
	board, nodes, err := o.gather(ctx)
	if err != nil {
		return System{}, err
	}
	o.say("packing the system")
	return assemble(ctx, o, board, nodes)
}

// assemble makes a slot from everything that goes into it.
func assemble(ctx context.Context, o Options, board files, nodes []Node) (System, error) {
	s := System{Release: slot.Release{
		Version: o.Source.Version, Commit: o.Source.Commit, Board: o.Board, Build: buildID(nodes, board),
	}}
	release, err := releaseJSON(s.Release)
	if err != nil {
		return System{}, err
	}
	board[slot.ReleaseFile] = release
	board[InitramfsFile], err = pack(append(nodes, Node{Path: releasePath, Mode: 0o644, Content: release}), o.Source.Seconds)
	if err != nil {
		return System{}, err
	}
	s.Image, err = slotImage(ctx, board, s.Release.Build, o.Source.Seconds)
	return s, err
}

// gather collects everything that a slot is made of.
func (o *Options) gather(ctx context.Context) (files, []Node, error) {
	b := o.Binaries
	var err error
	if b == (Binaries{}) {
		o.say("compiling version %s for 64-bit boards", o.Source.Version)
		// In a folder of its own: who builds another version beside this one, like
		// a test, must not put his programs into this image.
		dir, err := os.MkdirTemp(o.Cache, "arm64-")
		if err != nil {
			return nil, nil, err
		}
		defer os.RemoveAll(dir)
		if b, err = o.Source.Compile(ctx, dir); err != nil {
			return nil, nil, err
		}
	}
	o.say("finding kernel, Pi firmware and e2fsck")
	parts, err := FindParts(ctx, o.Source.Root)
	if err != nil {
		return nil, nil, err
	}
	fsck, err := FindFsck(ctx, o.Cache)
	if err != nil {
		return nil, nil, err
	}
	s := system{public: o.Site.public}
	for _, f := range []struct {
		to   *[]byte
		path string
	}{{&s.init, b.Init}, {&s.agent, b.Agent}, {&s.fsck, fsck.Program}} {
		if *f.to, err = os.ReadFile(f.path); err != nil {
			return nil, nil, err
		}
	}
	if s.roots, err = readRoots(); err != nil {
		return nil, nil, err
	}
	board, err := boardFiles(o.Board, parts, o.Site.extra)
	if err != nil {
		return nil, nil, err
	}
	board[LicencesFile], err = o.licences(ctx, b, fsck.Terms)
	return board, s.nodes(), err
}

// numbers are derived from the build: FAT serials, the disk's id, the ext4's
// UUID. Two cards of one image have the same, which hurts nobody, since they
// are never in one machine.
func number(build, what string) uint32 {
	sum := sha256.Sum256([]byte(build + what))
	return binary.BigEndian.Uint32(sum[:])
}

func uuid(build, what string) string {
	sum := sha256.Sum256([]byte(build + what))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// slotImage makes the FAT of a slot, without its empty end.
func slotImage(ctx context.Context, content files, build string, seconds int64) ([]byte, error) {
	work, err := os.MkdirTemp("", "cistern-slot-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	// The same in both slots, and in an update for either: so it does not say
	// where on the card it is.
	f := fat{file: filepath.Join(work, "slot"), bytes: slot.SlotBytes, label: slot.SlotLabel,
		serial: number(build, "slot"), is32: true, perUnit: 2}
	if err := os.WriteFile(f.file, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(f.file, slot.SlotBytes); err != nil {
		return nil, err
	}
	if err := f.write(ctx, content, seconds); err != nil {
		return nil, fmt.Errorf("slot: %w", err)
	}
	b, err := os.ReadFile(f.file)
	if err != nil {
		return nil, err
	}
	const unit = 1 << 20
	used := len(bytes.TrimRight(b, "\x00"))
	return b[:(used+unit-1)/unit*unit], nil
}
