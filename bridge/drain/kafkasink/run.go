package kafkasink

import (
	"context"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// Run keeps the uplink alive until ctx ends: it alone asks for metadata, at
// the start, on request, after silence and when what is known grows old.
func (s *Sink) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	defer s.stop()
	backoff := drain.Backoff{Min: drain.BackoffMin, Max: drain.BackoffMax}
	s.link.Become(drain.UplinkConnecting, nil)
	for {
		cluster, err := s.client.Metadata(ctx, s.topics.names()...)
		if err == nil {
			err = s.agree(ctx, cluster)
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := RefreshIntervalMin
		if err != nil {
			s.link.Become(drain.UplinkDown, err)
			wait = backoff.Next()
		} else {
			if previous := s.link.learned(cluster); previous != "" && previous != cluster.ID {
				s.cfg.Logger.Warn("the uplink leads to another cluster", "from", previous, "to", cluster.ID)
				s.hangUp()
			}
			backoff.Reset()
		}
		if !s.rest(ctx, wait, err == nil) {
			return nil
		}
	}
}

// agree chooses the mode, once for each cluster.
func (s *Sink) agree(ctx context.Context, cluster *kafka.Cluster) error {
	if s.link.agreed(cluster.ID) {
		return nil
	}
	mode, why, err := s.choose(ctx)
	if err != nil {
		return err
	}
	s.cfg.Logger.Info("mode of the uplink", "mode", mode.String(), "why", why, "cluster", cluster.ID)
	s.link.agree(mode, why, cluster.ID)
	return nil
}

// rest waits until it is time to ask again. While the uplink is up that is
// when somebody wants to know, or it was silent for long; while it is down,
// when the back-off ends or somebody says that things have changed.
func (s *Sink) rest(ctx context.Context, wait time.Duration, up bool) bool {
	asked := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if up {
		// A moment's pause first: requests that come together are one.
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		timer.Reset(ProbeInterval)
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.link.Wake():
			return true
		case <-timer.C:
			silent := s.cfg.Now().Sub(s.link.Status().LastAnswer)
			if !up || silent >= ProbeInterval || time.Since(asked) >= MetadataMaxAge {
				return true
			}
			timer.Reset(ProbeInterval - silent)
		}
	}
}

// stop ends what Run has started, and returns when it has ended.
func (s *Sink) stop() {
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.hangUp()
	s.group.Wait()
	s.client.Close()
	s.link.Become(drain.UplinkOff, nil)
}
