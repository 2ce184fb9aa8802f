package vfs

import (
	"io"
	"path/filepath"
	"sync"
	"syscall"
)

// Op is a kind of operation, for Rule.
type Op string

// The operations that Faulty can make fail.
const (
	OpCreate    Op = "create"
	OpOpen      Op = "open" // Open and OpenRead
	OpRename    Op = "rename"
	OpRemove    Op = "remove"
	OpMkdir     Op = "mkdir"
	OpList      Op = "list"
	OpSyncDir   Op = "syncdir"
	OpUsage     Op = "usage"
	OpLock      Op = "lock"
	OpRead      Op = "read"
	OpWrite     Op = "write"
	OpSync      Op = "sync"
	OpSize      Op = "size"
	OpDropCache Op = "dropcache"
)

// Rule says which operations fail, and how.
type Rule struct {
	Op   Op     // "" matches every kind
	Path string // a glob as in filepath.Match, for the base name; "" matches all
	Skip int    // how many that match succeed first
	Fail int    // how many fail then; 0: all that follow
	Err  error  // such as syscall.ENOSPC or EROFS; nil: EIO

	// Short is how many bytes a failing write writes before it fails, as a
	// device that fills up does.
	Short int
}

// Faulty is a file system that fails on command, and otherwise does what the one
// below it does.
//
// A Sync that fails is as treacherous as on Linux: what was written since the
// last good Sync will never reach the device, yet reads still show it until
// DropCache, and the next Sync succeeds. This needs a PowerCut below; the real
// file system can't forget what it was told.
type Faulty struct {
	under FS

	mu    sync.Mutex
	rules []*Injected
}

// NewFaulty returns a Faulty without rules over under.
func NewFaulty(under FS) *Faulty { return &Faulty{under: under} }

// Injected is a Rule at work.
type Injected struct {
	rule   Rule
	faulty *Faulty
	seen   int
	hits   int
	hit    chan struct{}
}

// Inject adds a rule. Of several rules that match, the oldest that has anything
// left to fail applies.
func (f *Faulty) Inject(r Rule) *Injected {
	if r.Err == nil {
		r.Err = syscall.EIO
	}
	i := &Injected{rule: r, faulty: f, hit: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, i)
	return i
}

// Clear removes all rules: the device works again.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Hits returns how many operations the rule made fail.
func (i *Injected) Hits() int {
	i.faulty.mu.Lock()
	defer i.faulty.mu.Unlock()
	return i.hits
}

// Hit is closed when the rule makes its first operation fail.
func (i *Injected) Hit() <-chan struct{} { return i.hit }

// takes reports whether the rule makes this operation fail.
func (i *Injected) takes(op Op, name string) bool {
	if i.rule.Op != "" && i.rule.Op != op {
		return false
	}
	if i.rule.Path != "" {
		if ok, err := filepath.Match(i.rule.Path, filepath.Base(name)); err != nil || !ok {
			return false
		}
	}
	i.seen++
	if i.seen <= i.rule.Skip || i.rule.Fail > 0 && i.hits >= i.rule.Fail {
		return false
	}
	if i.hits++; i.hits == 1 {
		close(i.hit)
	}
	return true
}

// fault returns the rule by which this operation fails, if one does.
func (f *Faulty) fault(op Op, name string) (Rule, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.rules {
		if i.takes(op, name) {
			return i.rule, pathError(string(op), name, i.rule.Err)
		}
	}
	return Rule{}, nil
}

func (f *Faulty) fails(op Op, name string) error {
	_, err := f.fault(op, name)
	return err
}

// Create implements FS.
func (f *Faulty) Create(name string) (File, error) {
	if err := f.fails(OpCreate, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.under.Create(name))
}

// Open implements FS.
func (f *Faulty) Open(name string) (File, error) {
	if err := f.fails(OpOpen, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.under.Open(name))
}

// OpenRead implements FS.
func (f *Faulty) OpenRead(name string) (File, error) {
	if err := f.fails(OpOpen, name); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.under.OpenRead(name))
}

func (f *Faulty) wrap(name string) func(File, error) (File, error) {
	return func(under File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{File: under, faulty: f, name: name}, nil
	}
}

// Rename implements FS. Rules see the new name.
func (f *Faulty) Rename(from, to string) error {
	if err := f.fails(OpRename, to); err != nil {
		return err
	}
	return f.under.Rename(from, to)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.fails(OpRemove, name); err != nil {
		return err
	}
	return f.under.Remove(name)
}

// MkdirAll implements FS.
func (f *Faulty) MkdirAll(dir string) error {
	if err := f.fails(OpMkdir, dir); err != nil {
		return err
	}
	return f.under.MkdirAll(dir)
}

// List implements FS.
func (f *Faulty) List(dir string) ([]string, error) {
	if err := f.fails(OpList, dir); err != nil {
		return nil, err
	}
	return f.under.List(dir)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(dir string) error {
	if err := f.fails(OpSyncDir, dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

// Usage implements FS.
func (f *Faulty) Usage(dir string) (Usage, error) {
	if err := f.fails(OpUsage, dir); err != nil {
		return Usage{}, err
	}
	return f.under.Usage(dir)
}

// Lock implements FS.
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if err := f.fails(OpLock, name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// faultyFile is one open file. Closing it never fails.
type faultyFile struct {
	File
	faulty *Faulty
	name   string
}

// ReadAt implements File.
func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.faulty.fails(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

// WriteAt implements File.
func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	rule, err := f.faulty.fault(OpWrite, f.name)
	if err == nil {
		return f.File.WriteAt(b, off)
	}
	if short := min(rule.Short, len(b)); short > 0 {
		n, _ := f.File.WriteAt(b[:short], off)
		return n, err
	}
	return 0, err
}

// Sync implements File.
func (f *faultyFile) Sync() error {
	err := f.faulty.fails(OpSync, f.name)
	if err == nil {
		return f.File.Sync()
	}
	f.loseDirty()
	return err
}

// Size implements File.
func (f *faultyFile) Size() (int64, error) {
	if err := f.faulty.fails(OpSize, f.name); err != nil {
		return 0, err
	}
	return f.File.Size()
}

// DropCache implements File.
func (f *faultyFile) DropCache() error {
	if err := f.faulty.fails(OpDropCache, f.name); err != nil {
		return err
	}
	return f.File.DropCache()
}

func (f *faultyFile) loseDirty() { loseDirty(f.File) }

// loseDirty tells a file that what it was to write will never be written, if it
// is one that can act on it.
func loseDirty(f File) {
	if l, ok := f.(interface{ loseDirty() }); ok {
		l.loseDirty()
	}
}
