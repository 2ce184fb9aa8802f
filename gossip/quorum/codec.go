package quorum

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
)

// Versions of what raft keeps, the first byte of each. A field that older
// gateways may overlook needs no new version, a new kind of change is
// recognised without one, all else needs one: whoever doesn't know it stops
// there instead of agreeing to something else.
const (
	changeVersion = 1
	imageVersion  = 2 // 1 knows neither assigned drainers nor clocks; it is written while there are none
)

// errNewer says that a newer gateway wrote this.
var errNewer = errors.New("written by a newer version of Cistern; update this gateway")

// encodeChange returns a change as it goes into the log.
func encodeChange(c metadata.Change) ([]byte, error) {
	if !hasKind(c) {
		return nil, fmt.Errorf("a change needs exactly one kind: %w", metadata.ErrInvalid)
	}
	b, err := encode(changeVersion, &c)
	if err == nil && len(b) > ChangeBytesMax {
		err = fmt.Errorf("%w: %d bytes, allowed are %d", ErrTooLarge, len(b), ChangeBytesMax)
	}
	return b, err
}

// decodeChange returns errNewer for what only a newer gateway understands, and
// another error for what none does.
func decodeChange(b []byte) (c metadata.Change, err error) {
	if err := decode(b, changeVersion, &c); err != nil {
		return metadata.Change{}, fmt.Errorf("change: %w", err)
	}
	if !hasKind(c) {
		return c, fmt.Errorf("change of an unknown kind: %w", errNewer)
	}
	return c, nil
}

// hasKind reports whether exactly one kind is set.
func hasKind(c metadata.Change) bool {
	n := 0
	for _, set := range []bool{c.Form != nil, c.Register != nil, c.Fence != nil, c.DrainNode != nil, c.RemoveMember != nil,
		c.PutStream != nil, c.DeleteStream != nil, c.AlterPartition != nil, c.Elect != nil, c.Reassign != nil,
		c.PutDrain != nil, c.AssignSource != nil, c.AssignDrain != nil, c.PutDrains != nil, c.PutClock != nil} {
		if set {
			n++
		}
	}
	return n == 1
}

// imageRecord is an image in a snapshot: lists instead of maps, in order, so
// that equal images are equal bytes.
type imageRecord struct {
	Index   uint64
	Site    string
	NextID  metadata.NodeID
	Members []metadata.Member
	Streams []*metadata.StreamState
	Drains  []drainRecord
	Sources []sourceRecord
	Clocks  []clockRecord `msgpack:",omitempty"`
}

type drainRecord struct {
	Stream      string
	Partition   int32
	LeaderEpoch int32
	Cursor      []byte
	Node        metadata.NodeID `msgpack:",omitempty"`
	Epoch       int32           `msgpack:",omitempty"`
	Seq         int64           `msgpack:",omitempty"`
}

type clockRecord struct {
	Boot  string
	Clock metadata.Clock
}

type sourceRecord struct {
	Name string
	Node metadata.NodeID
}

func encodeImage(m *metadata.Image) ([]byte, error) {
	r, version := imageRecord{Index: m.Index, Site: m.Site, NextID: m.NextID}, byte(1)
	for _, id := range slices.Sorted(maps.Keys(m.Members)) {
		r.Members = append(r.Members, m.Members[id])
	}
	for _, name := range slices.Sorted(maps.Keys(m.Streams)) {
		r.Streams = append(r.Streams, m.Streams[name])
	}
	for p, d := range m.Drains {
		r.Drains = append(r.Drains, drainRecord{p.Stream, p.Partition, d.LeaderEpoch, d.Cursor, d.Node, d.Epoch, d.Seq})
		if d.Node != 0 || d.Epoch != 0 {
			version = imageVersion
		}
	}
	slices.SortFunc(r.Drains, func(a, b drainRecord) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Partition, b.Partition))
	})
	for _, name := range slices.Sorted(maps.Keys(m.Sources)) {
		r.Sources = append(r.Sources, sourceRecord{name, m.Sources[name]})
	}
	for _, boot := range slices.Sorted(maps.Keys(m.Clocks)) {
		r.Clocks, version = append(r.Clocks, clockRecord{boot, m.Clocks[boot]}), imageVersion
	}
	return encode(version, &r)
}

func decodeImage(b []byte) (*metadata.Image, error) {
	var r imageRecord
	if err := decode(b, imageVersion, &r); err != nil {
		return nil, fmt.Errorf("snapshot of the metadata: %w", err)
	}
	m := metadata.NewImage()
	m.Index, m.Site, m.NextID = r.Index, r.Site, r.NextID
	for _, x := range r.Members {
		m.Members[x.ID] = x
	}
	for _, s := range r.Streams {
		if s == nil {
			return nil, errors.New("snapshot of the metadata: a stream is missing")
		}
		m.Streams[s.Config.Name] = s
	}
	for _, d := range r.Drains {
		m.Drains[metadata.PartitionID{Stream: d.Stream, Partition: d.Partition}] = metadata.Drain{
			LeaderEpoch: d.LeaderEpoch, Cursor: d.Cursor, Node: d.Node, Epoch: d.Epoch, Seq: d.Seq}
	}
	for _, c := range r.Clocks {
		m.Clocks[c.Boot] = c.Clock
	}
	for _, s := range r.Sources {
		m.Sources[s.Name] = s.Node
	}
	return m, nil
}

func encode(version byte, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte(version)
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func decode(b []byte, version byte, v any) error {
	switch {
	case len(b) == 0:
		return errors.New("empty")
	case b[0] > version:
		return fmt.Errorf("version %d, this gateway knows %d: %w", b[0], version, errNewer)
	case b[0] == 0:
		return fmt.Errorf("version %d: %w", b[0], errDamaged)
	}
	return msgpack.Unmarshal(b[1:], v)
}
