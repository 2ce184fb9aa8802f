package agent

import (
	"context"
	"errors"
	"fmt"

	"cistern/agent/status"
	"cistern/gossip/controller"
	"cistern/gossip/metadata"
	"cistern/segstore"
)

// site is what the status server asks for orders.
var _ status.SiteAdmin = (*site)(nil)

func (s *site) member(name string) (metadata.Member, error) {
	m, ok := s.quorum.Image().Member(name)
	if !ok {
		return m, fmt.Errorf("%q: %w; `cistern site` lists them", name, metadata.ErrUnknownMember)
	}
	return m, nil
}

// order proposes what an operator asked for.
func (s *site) order(ctx context.Context, c metadata.Change) (metadata.Result, error) {
	r, err := s.quorum.Propose(ctx, c)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

// DrainNode implements status.SiteAdmin.
func (s *site) DrainNode(ctx context.Context, name string, on bool) error {
	m, err := s.member(name)
	if err != nil {
		return err
	}
	_, err = s.order(ctx, metadata.Change{DrainNode: &metadata.DrainNode{Node: m.ID, On: on}})
	return err
}

// RemoveMember implements status.SiteAdmin.
func (s *site) RemoveMember(ctx context.Context, name string) error {
	m, err := s.member(name)
	if err != nil {
		return err
	}
	_, err = s.order(ctx, metadata.Change{RemoveMember: &metadata.RemoveMember{Node: m.ID}})
	return err
}

// Elect implements status.SiteAdmin.
func (s *site) Elect(ctx context.Context, o status.ElectOrder) (status.ElectAnswer, error) {
	id := metadata.PartitionID{Stream: o.Stream, Partition: o.Partition}
	image := s.quorum.Image()
	p := image.Partition(id)
	if p == nil {
		return status.ElectAnswer{}, fmt.Errorf("%s: %w", id, metadata.ErrUnknownPartition)
	}
	to := metadata.NoNode
	if o.To != "" {
		m, err := s.member(o.To)
		if err != nil {
			return status.ElectAnswer{}, err
		}
		to = m.ID
	}
	elect := metadata.Elect{Partition: id, Node: to, PartitionEpoch: p.PartitionEpoch, Unclean: o.Unclean}
	answer := status.ElectAnswer{Leader: o.To}
	if o.Unclean && !electable(p, image) {
		answer.GivenUp = s.givenUp(id, p, image)
	}
	if o.Try {
		// What would be is found out by doing it to a copy.
		if after, r := controller.Apply(image, image.Index+1, metadata.Change{Elect: &elect}); r.Err() == nil {
			answer.Leader = nodeName(after, after.Partition(id).Leader)
		}
		return answer, nil
	}
	r, err := s.order(ctx, metadata.Change{Elect: &elect})
	if err != nil {
		return answer, err
	}
	if r.Partition != nil {
		answer.Leader = nodeName(image, r.Partition.Leader)
	}
	return answer, nil
}

// electable reports whether somebody can lead without giving anything up.
func electable(p *metadata.PartitionState, image *metadata.Image) bool {
	for _, n := range p.ISR {
		if m, ok := image.Members[n]; ok && !m.Fenced {
			return true
		}
	}
	return false
}

// givenUp says in words what an unclean election costs, as far as this gateway
// can know: what only the copies had that are gone.
func (s *site) givenUp(id metadata.PartitionID, p *metadata.PartitionState, image *metadata.Image) string {
	last := p.LastISR
	if len(last) == 0 {
		last = p.ISR
	}
	names := ""
	for i, n := range last {
		if i > 0 {
			names += ", "
		}
		names += nodeName(image, n)
	}
	log := s.a.store.Log(id)
	if log == nil {
		return fmt.Sprintf("everything that only %s had in full", names)
	}
	return fmt.Sprintf("every record from offset %d on that only %s had (this gateway's copy ends at %d, known to be confirmed is %d)",
		log.EndOffset(), names, log.EndOffset(), log.HighWatermark())
}

var errPartitionsFixed = errors.New("the number of partitions can't be changed: the order of a device's records would break")

// ApplyStreams implements status.SiteAdmin.
func (s *site) ApplyStreams(ctx context.Context) (changed []string, err error) {
	for _, name := range s.differing() {
		was, _ := s.stream(name)
		c, _ := s.a.config.Stream(name)
		if c.Partitions != was.Partitions {
			return changed, fmt.Errorf("stream %q has %d partitions, the file says %d: %w", name, was.Partitions, c.Partitions, errPartitionsFixed)
		}
		if _, err := s.order(ctx, metadata.Change{PutStream: &metadata.PutStream{Config: c, Alter: true}}); err != nil {
			return changed, fmt.Errorf("stream %q: %w", name, err)
		}
		changed = append(changed, name)
	}
	return changed, nil
}

// errStandalone says why a folder can't become a member's.
var errStandalone = errors.New("this folder holds records of a gateway on its own that are not drained: drain them first (start without [site]), or begin with an empty folder")

// checkAlone makes sure that nothing was stored here before there was a site:
// its offsets would clash with the site's.
func (a *Agent) checkAlone() error {
	if a.store.State().Get(siteMark) != nil {
		return nil
	}
	for _, log := range a.store.Logs() {
		if log.EndOffset() > log.StartOffset() && log.Drained() < log.EndOffset() {
			return fmt.Errorf("%s: %w", log.Partition(), errStandalone)
		}
	}
	var entries []segstore.Entry
	for _, log := range a.store.Logs() {
		if log.EndOffset() > 0 {
			entries = append(entries, segstore.Entry{Log: log, Restart: true})
		}
	}
	for i := range entries { // lanes differ
		if _, err := a.store.Commit(entries[i]); err != nil {
			return err
		}
	}
	return a.store.State().PutSync(siteMark, []byte{1})
}

// siteMark is set once a folder belongs to a member of a site.
const siteMark = "site/member"
