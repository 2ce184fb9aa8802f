package controller

import (
	"fmt"

	"cistern/gossip/metadata"
)

// PartitionsMax bounds the partitions of all streams of a site. It is half of
// what one gateway's store takes, since each may be parked there too.
const PartitionsMax = 2048

// Replicas returns how many gateways keep a stream's partitions when that many
// are there: as many as it asks for, or three, as far as there are gateways.
func Replicas(c metadata.StreamConfig, live int) int {
	return max(1, min(configured(c), live))
}

func configured(c metadata.StreamConfig) int {
	if c.Replicas > 0 {
		return c.Replicas
	}
	return metadata.DefaultReplicas
}

// MinInsync returns how many gateways must have a record on flash before it is
// confirmed, where that many replicas were placed (PartitionState.Settled).
// It never depends on who is alive: a promise that shrinks when it is
// needed would be none. Placed counts no further than what was asked for, so
// that a move in progress raises nothing.
func MinInsync(c metadata.StreamConfig, replicas int) int {
	if c.MinInsync > 0 {
		return c.MinInsync
	}
	return metadata.DefaultMinInsync(min(replicas, configured(c)))
}

// putStream makes a stream on the gateways that are there, or alters one.
// Changed numbers of replicas are Decide's to carry out.
func (d *draft) putStream(p *metadata.PutStream) metadata.Result {
	c := p.Config
	if err := validStream(c); err != nil {
		return refuse(metadata.ErrInvalid, "%s", err)
	}
	old := d.img.Streams[c.Name]
	switch {
	case old == nil && p.Alter:
		return refuse(metadata.ErrUnknownPartition, "there is no stream %q to alter", c.Name)
	case old == nil && len(d.img.Streams) >= metadata.StreamsMax:
		return refuse(metadata.ErrNotAllowed, "the site has %d streams, and that is the limit", len(d.img.Streams))
	case old == nil:
		old = &metadata.StreamState{ID: d.img.Index}
	case old.Config == c:
		return metadata.Result{}
	case !p.Alter:
		return refuse(metadata.ErrNotAllowed, "stream %q exists with another configuration; alter it instead", c.Name)
	case int(c.Partitions) < len(old.Partitions):
		return refuse(metadata.ErrNotAllowed, "stream %q has %d partitions, and they can only become more, not %d", c.Name, len(old.Partitions), c.Partitions)
	case c.Lane != old.Config.Lane:
		return refuse(metadata.ErrNotAllowed, "stream %q lives in lane %q and can't move to %q; give the new lane a stream of another name", c.Name, old.Config.Lane, c.Lane)
	}
	more := int(c.Partitions) - len(old.Partitions)
	if total := partitions(d.img) + more; total > PartitionsMax {
		return refuse(metadata.ErrNotAllowed, "stream %q: the site would have %d partitions, at most %d are allowed", c.Name, total, PartitionsMax)
	}
	candidates := placeable(d.img)
	if len(candidates) == 0 && more > 0 {
		return refuse(metadata.ErrNotAllowed, "stream %q: no gateway is there to keep it", c.Name)
	}
	s := &metadata.StreamState{ID: old.ID, Config: c, Partitions: make([]metadata.PartitionState, len(old.Partitions), c.Partitions)}
	copy(s.Partitions, old.Partitions)
	n := Replicas(c, len(candidates))
	sp := newSpread(d.img, candidates, more*n)
	for i := range more {
		id := metadata.PartitionID{Stream: c.Name, Partition: int32(len(old.Partitions) + i)}
		r := sp.lead(sp.pick(id, nil, n))
		s.Partitions = append(s.Partitions, metadata.PartitionState{Replicas: r, ISR: r, Leader: r[0]})
	}
	d.streams()[c.Name] = s
	return metadata.Result{}
}

func validStream(c metadata.StreamConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	switch {
	case metadata.IsReserved(c.Name):
		return fmt.Errorf("stream %q: names that begin with %s are the gateway's own", c.Name, metadata.ReservedPrefix)
	case c.Acks < metadata.AcksAll || c.Acks > metadata.AcksLeader:
		return fmt.Errorf("stream %q: acks is %d, allowed are -1 (all), 0 and 1", c.Name, c.Acks)
	case c.WhenFull > metadata.DropOldest:
		return fmt.Errorf("stream %q: when_full is %d, allowed are 0 (refuse) and 1 (drop_oldest)", c.Name, c.WhenFull)
	case c.MinInsync > configured(c):
		return fmt.Errorf("stream %q: min_insync is %d, but only %d replicas are kept", c.Name, c.MinInsync, configured(c))
	}
	return nil
}

func partitions(img *metadata.Image) (n int) {
	for _, s := range img.Streams {
		n += len(s.Partitions)
	}
	return n
}

// deleteStream forgets a stream and how far it was drained.
func (d *draft) deleteStream(x *metadata.DeleteStream) metadata.Result {
	if d.img.Streams[x.Name] == nil {
		return refuse(metadata.ErrUnknownPartition, "there is no stream %.*q", metadata.StreamNameMax, x.Name)
	}
	delete(d.streams(), x.Name)
	for id := range d.was.Drains {
		if id.Stream == x.Name {
			delete(d.drains(), id)
		}
	}
	return metadata.Result{}
}
