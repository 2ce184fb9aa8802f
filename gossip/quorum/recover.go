package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"cistern/gossip/boltfile"
	"cistern/gossip/metadata"
)

// Report is what one gateway's flash knows about its site.
type Report struct {
	Site     string
	Index    uint64 // of the last change known here, agreed on or not
	LogIndex uint64 // of the last entry in the raft log
	Term     uint64
	Servers  []Server // who took part, as known here
	Members  []metadata.Member
	Image    *metadata.Image
	NewSite  string // the site's id after Recover, "" before
}

// Inspect reads the quorum's file of a gateway that is not running. Nothing is
// changed. What it shows may be older than what the site agreed on last, and
// its end may never have been agreed on.
func Inspect(dir string) (Report, error) {
	if _, err := os.Stat(filepath.Join(dir, FileName)); err != nil {
		return Report{}, fmt.Errorf("inspect: %w", err)
	}
	s, err := openStore(dir)
	if err != nil {
		return Report{}, err
	}
	var r Report
	err = boltfile.Guard(func() (err error) { // raft panics on a configuration it can't read
		r, err = inspect(s)
		return err
	})
	return r, errors.Join(err, s.close())
}

// inspect replays the whole log, as raft.RecoverCluster does.
func inspect(s *store) (Report, error) {
	m := newMachine(nil, &watchers{}, slog.New(slog.DiscardHandler))
	if err := m.load(snapshots{s}); err != nil {
		return Report{}, err
	}
	list, err := snapshots{s}.List()
	if err != nil {
		return Report{}, err
	}
	var r Report
	if len(list) > 0 {
		r.LogIndex, r.Term, r.Servers = list[0].Index, list[0].Term, serversOf(list[0].Configuration)
	}
	last, err := s.LastIndex()
	if err != nil {
		return Report{}, err
	}
	for i := r.LogIndex + 1; i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			return Report{}, err
		}
		r.LogIndex, r.Term = l.Index, l.Term
		switch l.Type {
		case raft.LogCommand:
			m.Apply(&l)
		case raft.LogConfiguration:
			r.Servers = serversOf(raft.DecodeConfiguration(l.Data))
		}
	}
	if why := m.behind.Load(); why != nil {
		return Report{}, errors.New(*why)
	}
	r.Image = m.image.Load()
	r.Site, r.Index = r.Image.Site, r.Image.Index
	for _, x := range r.Image.Members {
		r.Members = append(r.Members, x)
	}
	slices.SortFunc(r.Members, func(a, b metadata.Member) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// Lost returns the partitions of which no in-sync replica is among the
// survivors: who leads them then does so by an unclean election.
func (r *Report) Lost(survivors []string) (lost []metadata.PartitionID) {
	alive := func(n metadata.NodeID) bool { return slices.Contains(survivors, r.Image.Members[n].Name) }
	for name, s := range r.Image.Streams {
		for i, p := range s.Partitions {
			insync := p.ISR
			if len(insync) == 0 {
				insync = p.LastISR
			}
			if !slices.ContainsFunc(insync, alive) {
				lost = append(lost, metadata.PartitionID{Stream: name, Partition: int32(i)})
			}
		}
	}
	slices.SortFunc(lost, func(a, b metadata.PartitionID) int { return strings.Compare(a.String(), b.String()) })
	return lost
}

// Recover makes this gateway, which must not be running, the only one that
// votes on its site: for a site that has lost its majority for good. All that is
// in its log counts as agreed on.
//
// The site gets a new id, so that gateways of the old one are seen as such when
// they come back, and can't go on with the old metadata beside the new. They
// join again after Forget; their records stay.
func Recover(dir string, self Server) (Report, error) {
	before, err := Inspect(dir)
	if err != nil {
		return before, err
	}
	if before.LogIndex == 0 {
		return before, fmt.Errorf("recover %s: this gateway is part of no site", dir)
	}
	s, err := openStore(dir)
	if err != nil {
		return before, err
	}
	self.Voter = true
	before.NewSite = newSiteID()
	m := &recovering{machine: newMachine(nil, &watchers{}, slog.New(slog.DiscardHandler)), site: before.NewSite}
	c := raftConfig(&Config{Name: self.Name, Profile: Wired(), Logger: slog.New(slog.DiscardHandler)})
	_, nowhere := raft.NewInmemTransport(raft.ServerAddress(self.Address))
	err = raft.RecoverCluster(c, m, s, s, snapshots{s}, nowhere, configurationOf([]Server{self}))
	if err == nil {
		err = s.Set(keySite, []byte(before.NewSite))
	}
	if err != nil {
		err = fmt.Errorf("recover %s: %w", dir, err)
	}
	return before, errors.Join(err, s.close())
}

// recovering is the machine with the site's id changed in what is kept of it.
type recovering struct {
	*machine
	site string
}

// Snapshot implements raft.FSM.
func (r *recovering) Snapshot() (raft.FSMSnapshot, error) {
	if _, err := r.machine.Snapshot(); err != nil {
		return nil, err
	}
	img := r.machine.image.Load().Clone()
	img.Site = r.site
	for name, st := range img.Streams {
		st = st.Clone()
		for i := range st.Partitions {
			st.Partitions[i].LeaderEpoch += epochsLost
			st.Partitions[i].PartitionEpoch += epochsLost
		}
		img.Streams[name] = st
	}
	return imageSnapshot{img}, nil
}

// epochsLost is more than the lost majority can have agreed on while this
// gateway did not hear of it: no log that is left may be in an epoch that the
// recovered site gives again.
const epochsLost = 1 << 16

// Forget lets a gateway that is not running leave the site it knows: it joins
// the next one as a new one. Its records are not touched.
func Forget(dir string) error {
	path := filepath.Join(dir, FileName)
	s, err := openStore(dir) // nobody else may have it open
	if err == nil {
		err = s.close()
	}
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	return os.Remove(path)
}
