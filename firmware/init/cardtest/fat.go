// Package cardtest makes file systems as they are on a card, for tests.
package cardtest

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"

	"cistern/firmware/slot"
)

// File is a file of a FAT, in its root or in folders: "cistern/gateway.toml".
type File struct{ Path, Text string }

const (
	perCluster   = 8
	clusterBytes = perCluster * slot.SectorBytes
	fatSectors   = 16
	rootEntries  = 64
	attrFile     = 0x20
	attrFolder   = 0x10
)

// maker fills a FAT16 from its beginning.
type maker struct {
	table, data []byte
	next        int // cluster
}

// FAT makes a FAT16.
func FAT(bytes int, files ...File) []byte {
	b := make([]byte, bytes)
	le := binary.LittleEndian
	le.PutUint16(b[11:], slot.SectorBytes)
	b[13], b[16] = perCluster, 1
	le.PutUint16(b[14:], 1)
	le.PutUint16(b[17:], rootEntries)
	le.PutUint16(b[19:], uint16(bytes/slot.SectorBytes))
	le.PutUint16(b[22:], fatSectors)
	b[510], b[511] = 0x55, 0xaa
	root := b[(1+fatSectors)*slot.SectorBytes:]
	m := &maker{table: b[slot.SectorBytes:], data: root[rootEntries*32:], next: 2}
	folders, ends := map[string][]byte{"": root}, map[string]int{}
	for _, f := range files {
		folder, name := "", f.Path
		for before, after, found := strings.Cut(name, "/"); found; before, after, found = strings.Cut(name, "/") {
			in := folder
			folder, name = folder+before+"/", after
			if folders[folder] == nil {
				cluster, at := m.take(4 * clusterBytes)
				entry(folders[in][ends[in]:], before, attrFolder, cluster, 0)
				ends[in] += 64
				folders[folder] = at
			}
		}
		cluster, at := m.take(len(f.Text))
		copy(at, f.Text)
		entry(folders[folder][ends[folder]:], name, attrFile, cluster, len(f.Text))
		ends[folder] += 64
	}
	return b
}

// take gives the first of the clusters for so many bytes, and where they are.
func (m *maker) take(bytes int) (first int, at []byte) {
	n := (bytes + clusterBytes - 1) / clusterBytes
	first = m.next
	for i := range n {
		link := uint16(m.next + 1)
		if i == n-1 {
			link = 0xffff
		}
		binary.LittleEndian.PutUint16(m.table[2*m.next:], link)
		m.next++
	}
	return first, m.data[(first-2)*clusterBytes:]
}

// entry writes a name of up to 13 letters, as its long form and a short one.
func entry(b []byte, name string, attr byte, cluster, bytes int) {
	le := binary.LittleEndian
	long, short := b, b[32:]
	long[0], long[11] = 1, 0x0f
	units := append(utf16.Encode([]rune(name)), 0)
	for k, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		c := uint16(0xffff)
		if k < len(units) {
			c = units[k]
		}
		le.PutUint16(long[at:], c)
	}
	copy(short, "SHORT~1 TXT")
	short[11] = attr
	le.PutUint16(short[26:], uint16(cluster))
	le.PutUint32(short[28:], uint32(bytes))
}
