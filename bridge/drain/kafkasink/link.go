package kafkasink

import (
	"sync"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// link is the way upstream: the last metadata while a broker answers for it, and
// the mode that was chosen for the cluster.
type link struct {
	drain.Link[*kafka.Cluster]

	mu      sync.Mutex
	chosen  Mode // ModeAuto: not yet
	why     string
	cluster string // that it was chosen for
}

// agreed reports whether the mode was chosen, for that cluster.
func (l *link) agreed(cluster string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chosen != ModeAuto && l.cluster == cluster
}

func (l *link) agree(mode Mode, why, cluster string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chosen, l.why, l.cluster = mode, why, cluster
}

// mode returns what was chosen, and why. There is a choice before the link is
// ever up.
func (l *link) mode() (m Mode, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chosen, l.why
}

// learned takes in an answer to a metadata request: that is what "up" means.
func (l *link) learned(c *kafka.Cluster) (previous string) {
	mode, why := l.mode()
	l.Up(c, func(u *drain.Uplink) {
		previous, u.ClusterID = u.ClusterID, c.ID
		u.Mode, u.ModeWhy = mode.String(), why
		u.Brokers = nil
		for _, b := range c.Brokers {
			u.Brokers = append(u.Brokers, b.Addr)
		}
	}, "cluster", c.ID, "brokers", len(c.Brokers))
	return previous
}

// check asks Run's loop to look at the uplink now. err, if any, is why: until
// the answer comes the uplink is not called up.
func (l *link) check(err error) {
	if err != nil {
		l.Become(drain.UplinkConnecting, err)
	}
	l.Kick()
}
