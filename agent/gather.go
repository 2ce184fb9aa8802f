package agent

import (
	"slices"
	"strings"
	"sync"
	"time"

	"cistern/agent/status"
	"cistern/bridge/drain"
	"cistern/bridge/mqtt/source"
	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/batch"
	"cistern/segstore/vfs"
)

// Status implements status.Gatherer.
func (a *Agent) Status() *status.Document {
	now := time.Now()
	d := &status.Document{
		Gateway: status.Gateway{
			Name: a.config.Gateway.Name, Site: a.config.Gateway.Site, Version: a.version, Data: a.config.Gateway.Data,
			Started: a.started, UptimeSeconds: now.Sub(a.started).Seconds(), Clock: a.clock.check(),
		},
		Storage: a.storage(),
		Process: process(),
		MQTT:    a.devices(),
		Sources: a.brokers(),
	}
	if a.site == nil {
		d.Uplink, d.Streams = a.uplink(now)
	} else {
		// Parked first: what is handed over meanwhile is then seen in both places, and
		// not in neither.
		parked := a.site.forward.Status()
		d.Uplink, d.Streams = a.uplink(now)
		a.site.describe(d, parked)
	}
	if a.updates != nil {
		d.Machine = a.updates.known()
	}
	a.describeBoard(d)
	a.judge(d)
	status.JudgeBoard(a.health, d.Board)
	status.JudgeWear(a.health, d)
	status.JudgeMachine(a.health, d)
	status.JudgeDrain(a.health, d)
	d.Health = a.health.Active()
	return d
}

func (a *Agent) storage() status.Storage {
	s := a.store.Stats()
	out := status.Storage{
		UsedBytes: s.TotalBytes - s.SpareBytes, MaxBytes: s.MaxBytes, WrittenBytes: s.BytesWritten,
		DailyWriteBudget: a.config.Storage.DailyWriteBudget, Segments: s.Segments, Commits: s.Commits,
		Full: s.Full, Latched: s.Latched,
	}
	if u, err := vfs.OS.Usage(a.config.Gateway.Data); err == nil {
		out.FreeBytes = u.Available
	}
	return out
}

func (a *Agent) devices() status.MQTT {
	out := status.MQTT{Listeners: []status.Listener{}}
	server := a.mqtt.Load()
	if server == nil {
		return out
	}
	out.Clients = int64(server.Connections())
	for i, addr := range server.Addrs() {
		out.Listeners = append(out.Listeners, status.Listener{Address: addr.String(), Anonymous: a.config.MQTT.Listeners[i].Anonymous})
	}
	count := func(name string) int64 { return int64(a.sets[0].GetOrCreateCounter(name).Get()) }
	for _, qos := range []string{"0", "1", "2"} {
		out.Received += count(`cistern_mqtt_received_total{qos="` + qos + `"}`)
	}
	out.Confirmed = count("cistern_mqtt_confirmed_total")
	out.Refused = count("cistern_mqtt_refused_total")
	out.Lost = count("cistern_mqtt_qos0_dropped_total")
	return out
}

func (a *Agent) brokers() []status.Source {
	out := []status.Source{}
	for _, r := range a.readers.list() {
		s := sourceStatus(r.status())
		if a.site != nil {
			s.Reader = a.site.reader(r.config.URL)
		}
		out = append(out, s)
	}
	return out
}

func sourceStatus(s source.Status) status.Source {
	out := status.Source{
		URL: s.URL, Connected: !s.ConnectedSince.IsZero(), Messages: s.Committed, Error: s.Waiting,
		SkippedRetained: s.SkippedRetained, Rejected: s.Rejected, DroppedQoS0: s.DroppedQoS0, LastRejected: s.LastRejected,
		SessionsLost: s.SessionsLost, Subscriptions: []status.Subscription{},
	}
	for _, f := range s.Subscriptions {
		out.Subscriptions = append(out.Subscriptions, status.Subscription{Filter: f.Filter, Granted: f.Granted, QoS: f.QoS, Error: f.Error})
	}
	if !out.Connected {
		out.Error = oneLine(s.LastError)
	}
	return out
}

// oneLine makes one line of an error that joins several, which are often the
// same: one per address that was tried.
func oneLine(s string) string {
	var kept []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); !slices.Contains(kept, line) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}

// uplink gathers the drain, and every partition with what the drain knows of it.
func (a *Agent) uplink(now time.Time) (status.Uplink, []status.Stream) {
	out := status.Uplink{State: "none"}
	drains := map[metadata.PartitionID]drain.PartitionStatus{}
	if a.drain != nil {
		s := a.drain.Status()
		out = status.Uplink{
			Kind: a.config.Uplink.Way(), Mode: s.Uplink.Mode, ModeWhy: s.Uplink.ModeWhy,
			State: s.Uplink.State, Brokers: s.Uplink.Brokers, ClusterID: s.Uplink.ClusterID, Since: s.Uplink.Since,
			Pacing: pacing(&s.Gate), Records: s.Throughput.Records, Bytes: s.Throughput.Bytes, RecordsPerSecond: s.Throughput.RecordsPerSecond,
		}
		if s.Uplink.State != drain.UplinkUp {
			out.Error = oneLine(s.Uplink.LastError)
		}
		for _, p := range s.Partitions {
			drains[p.Partition] = p
		}
	}
	streams := []status.Stream{}
	for _, c := range a.streams() {
		streams = append(streams, a.streamStatus(c, drains, now))
	}
	return out, streams
}

// streams are those of the gateway, or of its site; not what gateways keep for
// themselves.
func (a *Agent) streams() []metadata.StreamConfig {
	if a.site != nil {
		return a.site.streams()
	}
	return a.store.Streams()
}

func (a *Agent) streamStatus(c metadata.StreamConfig, drains map[metadata.PartitionID]drain.PartitionStatus, now time.Time) status.Stream {
	out := status.Stream{Name: c.Name, Lane: c.Lane, Backlog: status.Backlog{OldestSeconds: -1}, Partitions: []status.Partition{}}
	for n := range c.Partitions {
		p := status.Partition{Partition: n, Drained: -1, Backlog: status.Backlog{OldestSeconds: -1}}
		id := metadata.PartitionID{Stream: c.Name, Partition: n}
		log := a.store.Log(id)
		if log == nil { // no copy here
			out.Partitions = append(out.Partitions, p)
			continue
		}
		p.StartOffset, p.HighWatermark, p.EndOffset, p.Dropped = log.StartOffset(), log.HighWatermark(), log.EndOffset(), log.Dropped()
		if d, ok := drains[log.Partition()]; ok {
			p.Drained, p.Upstream, p.Drain, p.Error, p.Quarantined = d.Cursor, d.Target, d.State, oneLine(d.Reason), d.Quarantined.Records
			p.Draining = drainingOf(&d)
		}
		p.Backlog = a.backlog(log, &p, now)
		if len(p.Flows) > 1 { // between them lies what is upstream already
			p.Backlog = share(p.Backlog, drains[id].Lag)
		}
		out.Backlog.Add(p.Backlog)
		out.Dropped += p.Dropped
		out.Quarantined += p.Quarantined
		out.Partitions = append(out.Partitions, p)
	}
	return out
}

// backlog is what the partition holds that is not upstream.
func (a *Agent) backlog(log *segstore.Log, p *status.Partition, now time.Time) status.Backlog {
	first := max(p.StartOffset, p.Drained, log.Drained())
	b := status.Backlog{Records: max(0, p.HighWatermark-first), OldestSeconds: -1}
	if b.Records == 0 {
		return b
	}
	b.Bytes = int64(float64(log.Bytes()) * float64(b.Records) / float64(p.HighWatermark-p.StartOffset))
	if at, ok := a.ages.timeOf(log, first); ok {
		b.OldestSeconds = max(0, now.Sub(at).Seconds())
	}
	return b
}

// share is what so many records of a backlog are.
func share(b status.Backlog, records int64) status.Backlog {
	if b.Records > 0 {
		b.Bytes = int64(float64(b.Bytes) * float64(records) / float64(b.Records))
	}
	b.Records = records
	return b
}

// ages remembers when the oldest record of each backlog was taken, so that a
// status costs a read only where the drain has moved.
type ages struct {
	mu    sync.Mutex
	known map[metadata.PartitionID]age
}

type age struct {
	offset int64
	time   time.Time
}

func (a *ages) timeOf(log *segstore.Log, offset int64) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := log.Partition()
	if k, ok := a.known[id]; ok && k.offset == offset {
		return k.time, true
	}
	one, err := log.Read(offset, nil, 0)
	if err != nil || len(one) == 0 {
		return time.Time{}, false
	}
	h, err := batch.ParseHeader(one)
	if err != nil {
		return time.Time{}, false
	}
	if a.known == nil {
		a.known = map[metadata.PartitionID]age{}
	}
	a.known[id] = age{offset, time.UnixMilli(h.BaseTimestamp)}
	return a.known[id].time, true
}
