package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
)

// nameChange is a change of folders that was not synced: node goes by the name
// to from now on ("" when removed), and what was called gone is no more.
type nameChange struct {
	gone, to string
	node     *inode
}

func (c nameChange) touches(dir string) bool {
	return c.gone != "" && filepath.Dir(c.gone) == dir || c.to != "" && filepath.Dir(c.to) == dir
}

func (c nameChange) apply(names map[string]*inode) {
	delete(names, c.gone)
	if c.to == "" {
		return
	}
	// A file has one name. It may have another here only if an earlier change
	// was lost that this one builds on.
	maps.DeleteFunc(names, func(_ string, n *inode) bool { return n == c.node })
	names[c.to] = c.node
}

// crashNames returns which names the device might hold.
func (p *PowerCut) crashNames(rng *rand.Rand, fate Fate) map[string]*inode {
	names := maps.Clone(p.durable)
	for _, c := range p.changes {
		if fate == Kept || fate != Lost && rng.IntN(2) == 0 {
			c.apply(names)
		}
	}
	// What lies in a folder that is gone is gone too.
	for _, name := range sortedNames(names) {
		if !isFolder(names, filepath.Dir(name)) {
			delete(names, name)
		}
	}
	return names
}

func sortedNames(names map[string]*inode) []string { return slices.Sorted(maps.Keys(names)) }

func isFolder(names map[string]*inode, dir string) bool {
	if dir == "." || dir == "/" {
		return true
	}
	n := names[dir]
	return n != nil && n.folder
}

// change applies c to what a process sees, and notes it for the device.
func (p *PowerCut) change(c nameChange) {
	c.apply(p.names)
	p.changes = append(p.changes, c)
}

func (p *PowerCut) newNode(folder bool) *inode {
	p.nextID++
	return &inode{id: p.nextID, folder: folder}
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements FS.
func (p *PowerCut) Create(name string) (File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	path := filepath.Clean(name)
	switch {
	case p.names[path] != nil:
		return nil, pathError("create", name, fs.ErrExist)
	case !isFolder(p.names, filepath.Dir(path)):
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	happens, err := p.mutate("create", name)
	if !happens {
		return nil, err
	}
	node := p.newNode(false)
	p.change(nameChange{to: path, node: node})
	if err != nil {
		return nil, err
	}
	return &powerCutFile{fs: p, name: name, node: node, writable: true}, nil
}

// Open implements FS.
func (p *PowerCut) Open(name string) (File, error) { return p.open(name, true) }

// OpenRead implements FS.
func (p *PowerCut) OpenRead(name string) (File, error) { return p.open(name, false) }

func (p *PowerCut) open(name string, writable bool) (File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.powered("open", name); err != nil {
		return nil, err
	}
	node, err := p.file("open", name)
	if err != nil {
		return nil, err
	}
	return &powerCutFile{fs: p, name: name, node: node, writable: writable}, nil
}

// file returns the file, not folder, of a name.
func (p *PowerCut) file(op, name string) (*inode, error) {
	node := p.names[filepath.Clean(name)]
	switch {
	case node == nil:
		return nil, pathError(op, name, fs.ErrNotExist)
	case node.folder:
		return nil, pathError(op, name, syscall.EISDIR)
	}
	return node, nil
}

// Rename implements FS, for files.
func (p *PowerCut) Rename(from, to string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	node, err := p.file("rename", from)
	if err != nil {
		return err
	}
	path := filepath.Clean(to)
	if n := p.names[path]; n != nil && n.folder {
		return pathError("rename", to, syscall.EISDIR)
	}
	if !isFolder(p.names, filepath.Dir(path)) {
		return pathError("rename", to, fs.ErrNotExist)
	}
	happens, err := p.mutate("rename", from+" to "+to)
	if happens && filepath.Clean(from) != path {
		p.change(nameChange{gone: filepath.Clean(from), to: path, node: node})
	}
	return err
}

// Remove implements FS.
func (p *PowerCut) Remove(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	path := filepath.Clean(name)
	node := p.names[path]
	if node == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if node.folder && len(p.children(path)) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	happens, err := p.mutate("remove", name)
	if happens {
		p.change(nameChange{gone: path, node: node})
	}
	return err
}

// MkdirAll implements FS. Each folder that it makes is durable once its parent
// was synced, as on a real file system.
func (p *PowerCut) MkdirAll(dir string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mkdirAll(filepath.Clean(dir))
}

func (p *PowerCut) mkdirAll(dir string) error {
	if err := p.powered("mkdir", dir); err != nil || isFolder(p.names, dir) {
		return err
	}
	if p.names[dir] != nil {
		return pathError("mkdir", dir, syscall.ENOTDIR)
	}
	if err := p.mkdirAll(filepath.Dir(dir)); err != nil {
		return err
	}
	happens, err := p.mutate("mkdir", dir)
	if happens {
		p.change(nameChange{to: dir, node: p.newNode(true)})
	}
	return err
}

// List implements FS.
func (p *PowerCut) List(dir string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.powered("list", dir); err != nil {
		return nil, err
	}
	path := filepath.Clean(dir)
	if !isFolder(p.names, path) {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	return p.children(path), nil
}

func (p *PowerCut) children(dir string) (names []string) {
	for _, name := range sortedNames(p.names) {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names
}

// SyncDir implements FS.
func (p *PowerCut) SyncDir(dir string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	path := filepath.Clean(dir)
	if !isFolder(p.names, path) {
		return pathError("syncdir", dir, fs.ErrNotExist)
	}
	if happens, err := p.mutate("syncdir", dir); !happens || err != nil {
		return err // cut: the changes stay as doubtful as they were
	}
	p.syncNames(path)
	return nil
}

// syncNames makes the changes of dir certain, and what they build on: a file
// that moved into dir was created elsewhere.
func (p *PowerCut) syncNames(dir string) {
	nodes := map[*inode]bool{}
	for _, c := range p.changes {
		if c.touches(dir) {
			nodes[c.node] = true
		}
	}
	p.changes = slices.DeleteFunc(p.changes, func(c nameChange) bool {
		if nodes[c.node] {
			c.apply(p.durable)
		}
		return nodes[c.node]
	})
}

// Usage implements FS.
func (p *PowerCut) Usage(string) (Usage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.powered("usage", ""); err != nil {
		return Usage{}, err
	}
	return Usage{Total: p.capacity, Available: max(0, p.capacity-p.used())}, nil
}

func (p *PowerCut) used() (bytes int64) {
	for _, n := range p.names {
		bytes += int64(len(n.cache.pages)) * PageSize
	}
	return bytes
}

// Lock implements FS.
func (p *PowerCut) Lock(name string) (io.Closer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	path := filepath.Clean(name)
	if err := p.powered("lock", name); err != nil {
		return nil, err
	}
	if p.locks[path] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	if !isFolder(p.names, filepath.Dir(path)) {
		return nil, pathError("lock", name, fs.ErrNotExist)
	}
	if p.names[path] == nil {
		happens, err := p.mutate("create", name)
		if happens {
			p.change(nameChange{to: path, node: p.newNode(false)})
		}
		if err != nil {
			return nil, err
		}
	}
	p.locks[path] = true
	return &powerCutLock{fs: p, path: path}, nil
}

type powerCutLock struct {
	fs   *PowerCut
	path string
}

// Close gives the lock back.
func (l *powerCutLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.path)
	return nil
}
