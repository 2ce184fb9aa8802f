package image

import (
	"fmt"
	"io"
	"io/fs"
)

// Node is a file, a folder or a device of the initramfs.
type Node struct {
	Path         string // without a slash at the front
	Mode         fs.FileMode
	Content      []byte
	Major, Minor uint32 // of a device
}

// Modes as the format has them, beside the nine bits of permission.
const (
	cpioFolder = 0o040000
	cpioFile   = 0o100000
	cpioDevice = 0o020000 // a character device
)

const cpioTrailer = "TRAILER!!!"

// WriteCPIO writes nodes, in their order, in the format "newc", which is what
// the kernel unpacks. Everything belongs to root and has the same time.
func WriteCPIO(w io.Writer, nodes []Node, seconds int64) error {
	c := cpio{w: w, seconds: uint32(seconds)}
	for i, n := range nodes {
		c.node(uint32(i+1), n)
	}
	c.entry(cpioEntry{name: cpioTrailer, links: 1})
	return c.err
}

type cpio struct {
	w       io.Writer
	at      int64
	seconds uint32
	err     error
}

type cpioEntry struct {
	inode, mode, links, seconds, major, minor uint32
	name                                      string
	content                                   []byte
}

func (c *cpio) node(inode uint32, n Node) {
	e := cpioEntry{inode: inode, links: 1, seconds: c.seconds, name: n.Path, content: n.Content, mode: uint32(n.Mode.Perm())}
	switch {
	case n.Mode.IsDir():
		e.mode |= cpioFolder
		e.links = 2
	case n.Mode&fs.ModeCharDevice != 0:
		e.mode |= cpioDevice
		e.major, e.minor = n.Major, n.Minor
	case n.Mode.IsRegular():
		e.mode |= cpioFile
	default:
		c.fail(fmt.Errorf("initramfs: %s: is neither file, folder nor character device", n.Path))
	}
	c.entry(e)
}

func (c *cpio) entry(e cpioEntry) {
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		e.inode, e.mode, 0, 0, e.links, e.seconds, len(e.content), 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name))
	c.pad()
	c.write(e.content)
	c.pad()
}

func (c *cpio) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.at += int64(n)
	c.fail(err)
}

func (c *cpio) pad() { c.write(make([]byte, -c.at&3)) }

func (c *cpio) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}
