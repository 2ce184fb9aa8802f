package rig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cistern/agent/status"
)

// View is a site at one moment, put together from what its running gateways say:
// each partition as its leader sees it.
type View struct {
	Partitions []status.Partition // of all streams; where nobody leads, of who knows most
	Parked     status.Parked
	Parking    status.Parking // what became of batches, summed over those who run
	Quorum     string         // who leads the quorum
	Running    int            // gateways that answered
}

// View asks every gateway that runs.
func (s *Site) View(ctx context.Context) (*View, error) {
	v := &View{Parked: status.Parked{OldestSeconds: -1}}
	var failed error
	for _, g := range s.Gateways {
		if !g.Running() {
			continue
		}
		d, err := g.Status(ctx)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", g.Name, err))
			continue
		}
		v.add(d)
	}
	if v.Running == 0 {
		return nil, errors.Join(failed, errors.New("no gateway answers"))
	}
	return v, nil
}

func (v *View) add(d *status.Document) {
	v.Running++
	v.Parked.Add(d.ParkedTotal())
	if d.Site != nil {
		if d.Site.Quorum.Leader != "" {
			v.Quorum = d.Site.Quorum.Leader
		}
		p := &v.Parking
		p.Parked += d.Site.Parking.Parked
		p.HandedOver += d.Site.Parking.HandedOver
		p.Resent += d.Site.Parking.Resent
		p.Confirmed += d.Site.Parking.Confirmed
	}
	n := 0
	for _, st := range d.Streams {
		for _, p := range st.Partitions {
			if n == len(v.Partitions) {
				v.Partitions = append(v.Partitions, p)
			} else if knowsMore(&p, &v.Partitions[n]) {
				v.Partitions[n] = p
			}
			n++
		}
	}
}

// knowsMore prefers the newer epoch, then the leader, then the longer copy.
func knowsMore(a, b *status.Partition) bool {
	if a.LeaderEpoch != b.LeaderEpoch {
		return a.LeaderEpoch > b.LeaderEpoch
	}
	if a.Role != b.Role && (a.Role == status.RoleLeader || b.Role == status.RoleLeader) {
		return a.Role == status.RoleLeader
	}
	return a.HighWatermark > b.HighWatermark
}

// Backlog is how many records are confirmed and not drained.
func (v *View) Backlog() (n int64) {
	for i := range v.Partitions {
		n += v.Partitions[i].Backlog.Records
	}
	return n
}

// Leaders names who leads each partition, "" where nobody does.
func (v *View) Leaders() []string {
	names := make([]string, len(v.Partitions))
	for i := range v.Partitions {
		names[i] = v.Partitions[i].Leader
	}
	return names
}

// Drained tells whether everything the site holds is at the centre. A view is put
// together from several moments: where a batch may have been handed over between two
// of them, it takes a second view to be sure.
func (v *View) Drained() bool {
	for i := range v.Partitions {
		p := &v.Partitions[i]
		if p.Role != status.RoleLeader {
			return false // who could tell has not spoken
		}
		if p.EndOffset != p.HighWatermark {
			return false // it has been taken, and is about to be confirmed
		}
	}
	return v.Backlog() == 0 && v.Parked.Records == 0
}

// AwaitView returns the first view of the site that is as wanted. progress, when
// not nil, is shown each one on the way.
func (s *Site) AwaitView(ctx context.Context, every time.Duration, wanted func(*View) bool, progress func(*View)) (*View, error) {
	var last *View
	for {
		v, err := s.View(ctx)
		if err == nil {
			if last = v; progress != nil {
				progress(v)
			}
			if wanted(v) {
				return v, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; %s", ctx.Err(), last.brief())
		case <-time.After(every): // other processes: nothing to wait on
		}
	}
}

func (v *View) brief() string {
	if v == nil {
		return "no gateway answered"
	}
	b := fmt.Sprintf("%d gateways answered, backlog %d records, parked %s", v.Running, v.Backlog(), v.Parked)
	for i := range v.Partitions {
		p := &v.Partitions[i]
		b += fmt.Sprintf("; %d: led by %q in epoch %d, in sync %v, %d drained of %d, end %d, %s %s",
			p.Partition, p.Leader, p.LeaderEpoch, p.ISR, p.Drained, p.HighWatermark, p.EndOffset, p.Drain, p.Error)
	}
	return b
}
