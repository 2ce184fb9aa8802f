package drain

import (
	"time"

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
		BufferBytes:    d.budget.inUse(),
		BufferBytesMax: d.budget.max,
	}
	for _, p := range order {
		s.Partitions = append(s.Partitions, p.status())
	}
	return s
}

func (p *partition) status() PartitionStatus {
	p.mu.Lock()
	s := p.view
	p.mu.Unlock()
	s.HighWatermark = p.log.HighWatermark()
	s.Lag = max(0, s.HighWatermark-s.Cursor)
	return s
}

func (p *partition) position() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view.Cursor
}

// say sets the state and why. A reason is logged once, until records flow.
func (p *partition) say(state, reason string) {
	p.mu.Lock()
	if p.view.State != state {
		p.view.Since = p.d.cfg.Now()
	}
	p.view.State, p.view.Reason = state, reason
	p.mu.Unlock()
	switch {
	case state == StateDraining || state == StateIdle:
		p.said = ""
		return
	case reason == "" || reason == p.said:
		return
	case state == StateStopped:
		p.logger.Error("drain stopped", "reason", reason)
	default:
		p.logger.Warn("drain waits", "reason", reason)
	}
	p.said = reason
}

// publish shows the cursor to others and tells when it moved.
func (p *partition) publish(inFlight int) {
	p.mu.Lock()
	moved := p.view.Cursor != p.cursor.Position
	p.view.Cursor = p.cursor.Position
	p.view.InFlight = inFlight
	p.view.ProducerID, p.view.Incarnation = p.cursor.Producer, p.cursor.Incarnation
	p.view.Gaps, p.view.Quarantined = p.cursor.Gaps, p.cursor.Quarantined
	p.view.Resent = p.resent
	p.mu.Unlock()
	if moved {
		p.d.cfg.OnCursor(p.id, p.cursor.Position)
	}
}
