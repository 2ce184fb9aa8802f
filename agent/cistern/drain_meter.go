package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"cistern/agent/status"
)

// rateWindow is how far back a smoothed rate remembers: long enough that a batch
// more or less does not make the time left jump, short enough to notice a link that
// became slow.
const rateWindow = 15 * time.Second

// drainMeter makes rates out of one look after another.
type drainMeter struct {
	now  func() time.Time
	last map[string]seen
	at   time.Time
}

// seen is what the last look found of a partition.
type seen struct {
	left, high int64
	out, in    float64 // records/s, smoothed
	size       float64 // bytes of a record
	rated      bool
}

// drainLook is one look at a drain.
type drainLook struct {
	rows  []drainRow
	left  int64 // records to drain here
	bytes int64
	out   float64 // records/s
	flow  float64 // bytes/s
	eta   float64 // seconds until nothing is left; negative: unknown
	rated bool    // there was a look before
}

// drainRow is one partition. Its JSON is an interface for scripts.
type drainRow struct {
	Stream        string             `json:"stream"`
	Partition     int32              `json:"partition"`
	Here          bool               `json:"here"` // this gateway drains it
	Site          bool               `json:"-"`    // another one may
	Target        string             `json:"target,omitempty"`
	State         string             `json:"state,omitempty"`
	Reason        string             `json:"reason,omitempty"`
	Position      int64              `json:"position"`
	HighWatermark int64              `json:"high_watermark"`
	Left          int64              `json:"records_left"`
	LeftBytes     int64              `json:"bytes_left"` // estimated
	OldestSeconds float64            `json:"oldest_seconds"`
	Rate          *float64           `json:"records_per_second,omitempty"`
	ByteRate      *float64           `json:"bytes_per_second,omitempty"` // estimated
	SecondsLeft   *float64           `json:"seconds_left,omitempty"`     // absent while unknown
	Paused        bool               `json:"paused,omitempty"`
	Skipped       int64              `json:"records_skipped,omitempty"`
	Quarantined   int64              `json:"records_quarantined,omitempty"`
	Missed        int64              `json:"records_missed,omitempty"`
	Retimed       int64              `json:"records_retimed,omitempty"`
	Abandoned     int64              `json:"records_abandoned,omitempty"`
	Drainer       string             `json:"drainer,omitempty"`
	Flows         []status.DrainFlow `json:"flows,omitempty"`
}

func (r *drainRow) name() string { return fmt.Sprintf("%s/%d", r.Stream, r.Partition) }

// look takes in a status.
func (m *drainMeter) look(d *status.Document) *drainLook {
	now := m.now()
	elapsed := now.Sub(m.at)
	next := map[string]seen{}
	l := &drainLook{eta: -1, rated: m.last != nil}
	in := 0.0
	for _, s := range d.Streams {
		for i := range s.Partitions {
			r := drainRowOf(d, s.Name, &s.Partitions[i])
			if r.Here {
				was, known := m.last[r.name()]
				is := was.step(&r, elapsed, known)
				next[r.name()] = is
				r.rate(is)
				l.left += r.Left
				l.bytes += r.LeftBytes
				l.out += is.out
				in += is.in
				l.flow += is.out * is.size
			}
			l.rows = append(l.rows, r)
		}
	}
	l.eta = timeLeft(l.left, l.out, in)
	m.last, m.at = next, now
	return l
}

func drainRowOf(d *status.Document, stream string, p *status.Partition) drainRow {
	r := drainRow{
		Stream: stream, Partition: p.Partition, Site: d.Site != nil, Here: p.Drained >= 0 && (d.Site == nil || p.Drainer == "" || p.Drainer == d.Gateway.Name),
		Target: p.Upstream, State: p.Drain, Reason: p.Error, Position: p.Drained, HighWatermark: p.HighWatermark,
		Left: p.Backlog.Records, LeftBytes: p.Backlog.Bytes, OldestSeconds: p.Backlog.OldestSeconds,
		Paused: p.Paused, Skipped: p.Skipped, Quarantined: p.Quarantined, Missed: p.Missed, Retimed: p.Retimed, Abandoned: p.Abandoned,
		Drainer: p.Drainer, Flows: p.Flows,
	}
	if len(p.Flows) > 0 && r.Left > 0 { // between flows there may be what is upstream already
		left := int64(0)
		for _, f := range p.Flows {
			left += f.Records
		}
		r.LeftBytes = int64(float64(r.LeftBytes) * float64(left) / float64(r.Left))
		r.Left = left
	}
	return r
}

// step compares with the look before.
func (was seen) step(r *drainRow, elapsed time.Duration, known bool) seen {
	is := seen{left: r.Left, high: r.HighWatermark, size: was.size}
	if r.Left > 0 {
		is.size = float64(r.LeftBytes) / float64(r.Left)
	}
	if !known || elapsed <= 0 {
		return is
	}
	in := max(0, r.HighWatermark-was.high)
	out := max(0, was.left+in-r.Left)
	weight := 1.0
	if was.rated {
		weight = 1 - math.Exp(-float64(elapsed)/float64(rateWindow))
	}
	is.in = was.in + weight*(float64(in)/elapsed.Seconds()-was.in)
	is.out = was.out + weight*(float64(out)/elapsed.Seconds()-was.out)
	is.rated = true
	return is
}

// stalledRate is the rate below which nothing moves: an average never quite
// becomes 0.
const stalledRate = 0.05 // records/s

// rate puts what was measured where it is shown.
func (r *drainRow) rate(is seen) {
	if !is.rated {
		return
	}
	bytes := is.out * is.size
	r.Rate, r.ByteRate = &is.out, &bytes
	if left := timeLeft(r.Left, is.out, is.in); left >= 0 && !r.Paused {
		r.SecondsLeft = &left
	}
}

// timeLeft estimates seconds until nothing is left; negative: unknown.
func timeLeft(left int64, out, in float64) float64 {
	switch {
	case left == 0:
		return 0
	case out < stalledRate || out-in < stalledRate:
		return -1
	}
	return float64(left) / (out - in)
}

// elsewhere is the error of a wait that can't know of all partitions.
func (l *drainLook) elsewhere() error {
	var others []string
	for i := range l.rows {
		if r := &l.rows[i]; !r.Here {
			others = append(others, status.DrainedAt{Partition: r.name(), Gateway: r.Drainer}.String())
		}
	}
	if len(others) == 0 {
		return nil
	}
	slices.Sort(others)
	return hinted(errors.New("nothing is left here, but "+strings.Join(others, ", ")), "ask there as well")
}

// line is one look on one line.
func (l *drainLook) line(d *status.Document) string {
	s := fmt.Sprintf("%s  uplink %s  %s records left, %s", time.Now().Format(time.TimeOnly), d.Uplink.State, humanCount(l.left), humanBytes(l.bytes))
	if l.rated {
		s += fmt.Sprintf("  %s records/s, %s/s  time left %s", humanRate(l.out), humanBytes(int64(l.flow)), humanLeft(l.eta))
	}
	return s
}

func (l *drainLook) json(d *status.Document) any {
	type totals struct {
		Time       time.Time     `json:"time"`
		Gateway    string        `json:"gateway"`
		Uplink     status.Uplink `json:"uplink"`
		Left       int64         `json:"records_left"`
		LeftBytes  int64         `json:"bytes_left"`
		Rate       *float64      `json:"records_per_second,omitempty"`
		ByteRate   *float64      `json:"bytes_per_second,omitempty"`
		Seconds    *float64      `json:"seconds_left,omitempty"` // absent while unknown
		Partitions []drainRow    `json:"partitions"`
	}
	t := totals{Time: time.Now().UTC().Truncate(time.Millisecond), Gateway: d.Gateway.Name, Uplink: d.Uplink, Left: l.left, LeftBytes: l.bytes, Partitions: l.rows}
	if l.rated {
		t.Rate, t.ByteRate = &l.out, &l.flow
		if l.eta >= 0 {
			t.Seconds = &l.eta
		}
	}
	return t
}

func writeLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

func humanRate(r float64) string {
	if r > 0 && r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return humanCount(int64(math.Round(r)))
}

// humanLeft says how long something takes, or that nobody knows.
func humanLeft(seconds float64) string {
	if seconds < 0 {
		return "unknown"
	}
	return humanSeconds(seconds)
}
