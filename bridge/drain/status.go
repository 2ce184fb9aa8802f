package drain

import (
	"slices"
	"time"

	"cistern/bridge/drain/pace"
	"cistern/bridge/drain/shape"
	"cistern/gossip/metadata"
)

// Words for the state of the way upstream.
const (
	UplinkOff        = "off"        // not running
	UplinkConnecting = "connecting" // first try, or checking what broke
	UplinkUp         = "up"         // a request was answered recently
	UplinkDown       = "down"       // tried, in vain
)

// Uplink is the state of the way upstream.
type Uplink struct {
	State       string    `json:"state"`
	Since       time.Time `json:"since"`
	LastAnswer  time.Time `json:"last_answer,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Brokers     []string  `json:"brokers"`
	ClusterID   string    `json:"cluster_id,omitempty"`
	// Mode is what keeps records from arriving twice, and ModeWhy who chose it;
	// empty where the sink has one way only, or has not asked yet.
	Mode    string `json:"mode,omitempty"`
	ModeWhy string `json:"mode_why,omitempty"`
}

// Words for the state of a partition's drain.
const (
	StateOff        = "off"        // not running
	StateConnecting = "connecting" // waits for uplink, topic, position
	StateDraining   = "draining"
	StateIdle       = "idle"     // everything is upstream
	StateRetrying   = "retrying" // after a failure; Reason says which
	StateStopped    = "stopped"  // needs an operator; Reason says why
	StatePaced      = "paced"    // waits at the gate: rate, hours, daily budget
	StateWaiting    = "waiting"  // for its turn: an older flow goes first
	StatePaused     = "paused"   // see Drainer.Pause
	StateMending    = "mending"  // flash lost what goes next, and another copy may have it
)

// FlowStatus is the state of one order in which records go upstream.
type FlowStatus struct {
	Kind     Flow   `json:"kind"` // "live" or "backfill"
	From     int64  `json:"from"` // where the flow began
	To       int64  `json:"to"`   // behind its last offset; -1: it has no end
	Position int64  `json:"position"`
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"`
	Lag      int64  `json:"lag"` // records
	// InDoubt: records from Position on may be upstream already.
	InDoubt bool `json:"in_doubt,omitempty"`

	InFlight    int   `json:"in_flight"`
	ProducerID  int64 `json:"producer_id"`
	Incarnation int   `json:"incarnation"`
}

// PartitionStatus is the state of one partition's drain.
type PartitionStatus struct {
	Partition     metadata.PartitionID `json:"partition"`
	State         string               `json:"state"`
	Reason        string               `json:"reason,omitempty"`
	Since         time.Time            `json:"since"` // of State
	Target        string               `json:"target,omitempty"`
	Cursor        int64                `json:"cursor"`
	HighWatermark int64                `json:"high_watermark"`
	Lag           int64                `json:"lag"` // records
	InFlight      int                  `json:"in_flight"`
	ProducerID    int64                `json:"producer_id"`
	Incarnation   int                  `json:"incarnation"`
	Gaps          Tally                `json:"gaps"`
	Quarantined   Tally                `json:"quarantined"`
	Resent        int64                `json:"resent"` // batches sent again, since Run

	// Cursor is the lowest offset that is not upstream, Lag is that of all flows,
	// and State is that of the flow that is worst off.
	Flows     []FlowStatus `json:"flows"` // in the order of offsets, the live one last
	Paused    bool         `json:"paused"`
	Skipped   Tally        `json:"skipped"`   // given up by an operator
	Retimed   Tally        `json:"retimed"`   // sent with new timestamps, since upstream refused theirs
	Abandoned Tally        `json:"abandoned"` // upstream, but given up by the site in an unclean election
}

// Status is the state of the whole drain.
type Status struct {
	Uplink         Uplink            `json:"uplink"`
	Partitions     []PartitionStatus `json:"partitions"`
	Throughput     Throughput        `json:"throughput"`
	Gate           pace.Status       `json:"gate"`
	Shaped         shape.Stats       `json:"shaped"`
	BufferBytes    int               `json:"buffer_bytes"`
	BufferBytesMax int               `json:"buffer_bytes_max"`
}

// Status returns the state of the drain, partitions in the order they were
// added.
func (d *Drainer) Status() Status {
	d.mu.Lock()
	order := append([]*partition(nil), d.order...)
	d.mu.Unlock()
	s := Status{
		Uplink:         d.cfg.Sink.Uplink(),
		Throughput:     d.meter.read(d.cfg.Now()),
		Gate:           d.cfg.Gate.Status(),
		Shaped:         d.cfg.Shaper.Stats(),
		BufferBytes:    d.budget.inUse(),
		BufferBytesMax: d.budget.max,
	}
	for _, p := range order {
		s.Partitions = append(s.Partitions, p.status())
	}
	return s
}

// badness orders states: a partition is as well as the flow that is worst off.
var badness = map[string]int{
	StateOff: 0, StateIdle: 1, StateWaiting: 2, StateDraining: 3, StatePaced: 4, StateConnecting: 5, StateRetrying: 6, StateMending: 7, StateStopped: 8,
}

func (p *partition) status() PartitionStatus {
	hw := p.log.HighWatermark()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PartitionStatus{Partition: p.id, HighWatermark: hw, Cursor: p.lowest(), Paused: p.paused, Resent: p.resent.Load(),
		Gaps: p.counts.Gaps, Quarantined: p.counts.Quarantined, Skipped: p.counts.Skipped,
		Retimed: p.counts.Retimed, Abandoned: p.counts.Abandoned, Target: p.live.view.target,
		ProducerID: p.live.view.ProducerID, Incarnation: p.live.view.Incarnation, Since: p.live.view.since}
	for i, f := range append(slices.Clone(p.older), p.live) {
		v := f.view.FlowStatus
		v.Kind, v.From, v.To = f.kind, f.from, f.end
		v.Lag = max(0, min(hw, v.To)-v.Position)
		if f.kind == Live {
			v.To = -1
		}
		v.State = p.stateOf(f, i)
		if s.State == "" || badness[v.State] > badness[s.State] {
			s.State, s.Reason, s.Since = v.State, v.Reason, f.view.since
		}
		if s.Target == "" {
			s.Target = f.view.target
		}
		s.Lag += v.Lag
		s.InFlight += v.InFlight
		s.Flows = append(s.Flows, v)
	}
	return s
}

// stateOf says how the i-th flow is, in the order of offsets. p.mu is held.
func (p *partition) stateOf(f *flow, i int) string {
	switch {
	case p.paused:
		return StatePaused
	case !p.running:
		return StateOff
	case f.kind == Backfill && i > 0, f.kind == Live && i > 0 && p.d.cfg.Order != OrderLiveFirst:
		return StateWaiting
	}
	return f.view.State
}

// say sets the state and why. A reason is logged once, until records flow.
func (f *flow) say(state, reason string) {
	f.mu.Lock()
	if f.view.State != state {
		f.view.since = f.d.cfg.Now()
	}
	f.view.State, f.view.Reason = state, reason
	f.mu.Unlock()
	switch {
	case state == StateDraining || state == StateIdle || state == StatePaced:
		f.said = ""
		return
	case reason == "" || reason == f.said:
		return
	case state == StateStopped:
		f.logger.Error("drain stopped", "flow", f.kind, "reason", reason)
	default:
		f.logger.Warn("drain waits", "flow", f.kind, "reason", reason)
	}
	f.said = reason
}

// publish shows the cursor to others and tells when it moved.
func (f *flow) publish(inFlight int) {
	f.show(inFlight)
	f.told()
}

func (f *flow) show(inFlight int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := &f.view
	v.Position, v.InFlight = min(f.cursor.reached(), f.end), inFlight
	v.ProducerID, v.Incarnation, v.InDoubt = f.cursor.Producer, f.cursor.Incarnation, f.cursor.InDoubt
}
