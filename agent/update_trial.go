package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cistern/agent/status"
	"cistern/gossip/metadata"
)

// trial is what decides whether a version that was just booted is good: that
// everything works here which works without it.
type trial struct {
	listening bool // for devices
	site      *metadata.Image
	member    bool // of a site: site says how it is
	node      metadata.NodeID
	given     uint64 // the site's incarnation of this process; 0: not registered yet
	active    []status.Active
}

// ownFlash are the warnings that a new version must not run into. A full card is
// none of them: it is often what an update is to end.
var ownFlash = []status.Code{status.StoreLatched}

// trial gathers it as it is now.
func (a *Agent) trial() *trial {
	t := &trial{listening: a.mqtt.Load() != nil, active: a.health.Active()}
	if s := a.site; s != nil {
		// Not what this gateway remembers (site.image): there it is in sync as it was
		// before it was started again.
		t.member, t.site = true, s.quorum.Image()
		s.mu.Lock()
		t.node, t.given = s.registered.node, s.registered.given
		s.mu.Unlock()
	}
	return t
}

// missing says what is not there yet; nil is good.
func (t *trial) missing() (missing []string) {
	if !t.listening {
		missing = append(missing, "it does not listen for devices yet")
	}
	for _, w := range t.active {
		if slices.Contains(ownFlash, w.Code) {
			missing = append(missing, fmt.Sprintf("%s (%s)", w.Title, w.Code))
		}
	}
	if t.member {
		missing = append(missing, t.missingOfSite()...)
	}
	return missing
}

func (t *trial) missingOfSite() []string {
	m, ok := t.site.Members[t.node]
	switch {
	case t.given == 0 || !ok || m.Incarnation != t.given:
		return []string{"the site has not taken it in yet"}
	case m.Fenced:
		return []string{"the site takes it for dead"}
	}
	if behind := t.behind(); len(behind) > 0 {
		return []string{"not in sync yet: " + someOf(behind)}
	}
	return nil
}

// behind are the partitions of which this gateway keeps a copy that is not in
// sync. Two kinds are no part of it, since they would be no better with the old
// version: copies on their way in or out, and those of partitions without a leader,
// whose gateway is gone. Nobody is there to copy from.
func (t *trial) behind() (names []string) {
	for stream, st := range t.site.Streams {
		for i := range st.Partitions {
			p := &st.Partitions[i]
			moving := slices.Contains(p.Adding, t.node) || slices.Contains(p.Removing, t.node)
			if p.IsReplica(t.node) && !p.InISR(t.node) && !moving && p.Leader != metadata.NoNode {
				names = append(names, fmt.Sprintf("%s/%d", stream, i))
			}
		}
	}
	slices.Sort(names)
	return names
}

// someOf names the first few.
func someOf(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// trialWatch follows a trial from look to look.
type trialWatch struct {
	since time.Time // nothing has been missing; zero: something is
	said  string
	deaf  bool
}

// heard notes whether the machine answered, and logs when that changes.
func (t *trialWatch) heard(log *slog.Logger, err error) bool {
	switch {
	case err != nil && !t.deaf:
		log.Warn("the machine does not answer; trying on", "error", err)
	case err == nil && t.deaf:
		log.Info("the machine answers again")
	}
	t.deaf = err != nil
	return err == nil
}

// good reports whether nothing has been missing for long enough, and logs what
// is when that changes.
func (t *trialWatch) good(log *slog.Logger, m *status.Machine, settle time.Duration) bool {
	if said := strings.Join(m.Missing, "; "); said != t.said || t.since.IsZero() && said == "" {
		if t.said = said; said == "" {
			t.since = time.Now()
			log.Info("update on trial: nothing is missing", "version", m.Version, "good_in", settle.String())
		} else {
			t.since = time.Time{}
			log.Info("update on trial", "version", m.Version, "missing", said, "until", m.TrialEnds)
		}
	}
	return t.said == "" && time.Since(t.since) >= settle
}
