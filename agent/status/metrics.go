package status

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/VictoriaMetrics/metrics"
)

// metric is one family of /metrics: described where it is defined, and filled
// from the Document, so that scrapes and `cistern status` can't disagree.
type metric struct {
	name, kind, help string
	values           func(d *Document, put func(value float64, labels ...string))
}

// one is a metric without labels.
func one(get func(d *Document) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) { put(get(d)) }
}

// perPartition is a metric with the labels stream and partition.
func perPartition(get func(p *Partition) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		for _, s := range d.Streams {
			for i := range s.Partitions {
				p := &s.Partitions[i]
				put(get(p), "stream", s.Name, "partition", strconv.Itoa(int(p.Partition)))
			}
		}
	}
}

var families = []metric{
	{"cistern_info", "gauge", "Always 1; the labels say who this is.",
		func(d *Document, put func(float64, ...string)) {
			put(1, "name", d.Gateway.Name, "site", d.Gateway.Site, "version", d.Gateway.Version)
		}},
	{"cistern_uptime_seconds", "gauge", "Time since the agent started.",
		one(func(d *Document) float64 { return d.Gateway.UptimeSeconds })},
	{"cistern_warning", "gauge", "1 while the warning with this code holds.", warningValues},
	{"cistern_storage_used_bytes", "gauge", "Flash in use by the journal.",
		one(func(d *Document) float64 { return float64(d.Storage.UsedBytes) })},
	{"cistern_storage_max_bytes", "gauge", "Flash that the journal may use.",
		one(func(d *Document) float64 { return float64(d.Storage.MaxBytes) })},
	{"cistern_storage_free_bytes", "gauge", "Free space of the file system.",
		one(func(d *Document) float64 { return float64(d.Storage.FreeBytes) })},
	{"cistern_storage_written_bytes_total", "counter", "Bytes the journal wrote to the device.",
		one(func(d *Document) float64 { return float64(d.Storage.WrittenBytes) })},
	{"cistern_commits_total", "counter", "Groups committed to the journal: one write and one flush each.",
		one(func(d *Document) float64 { return float64(d.Storage.Commits) })},
	{"cistern_records_dropped_total", "counter", "Records dropped by policy before they were drained.",
		perPartition(func(p *Partition) float64 { return float64(p.Dropped) })},
	{"cistern_records_quarantined_total", "counter", "Records set aside: refused by the centre or damaged.",
		perPartition(func(p *Partition) float64 { return float64(p.Quarantined) })},
	{"cistern_start_offset", "gauge", "First offset that is still stored.",
		perPartition(func(p *Partition) float64 { return float64(p.StartOffset) })},
	{"cistern_high_watermark", "gauge", "Offset below which every record is confirmed.",
		perPartition(func(p *Partition) float64 { return float64(p.HighWatermark) })},
	{"cistern_drained_offset", "gauge", "Offset below which every record has reached the centre; -1 without an uplink.",
		perPartition(func(p *Partition) float64 { return float64(p.Drained) })},
	{"cistern_backlog_records", "gauge", "Records confirmed and not drained.",
		perPartition(func(p *Partition) float64 { return float64(p.Backlog.Records) })},
	{"cistern_backlog_bytes", "gauge", "Stored bytes confirmed and not drained.",
		perPartition(func(p *Partition) float64 { return float64(p.Backlog.Bytes) })},
	{"cistern_backlog_oldest_seconds", "gauge", "Age of the oldest record not drained; -1 when there is none.",
		perPartition(func(p *Partition) float64 { return p.Backlog.OldestSeconds })},
	{"cistern_uplink_up", "gauge", "1 while the central cluster is connected.",
		one(func(d *Document) float64 { return truth(d.Uplink.State == "up") })},
	{"cistern_drained_records_total", "counter", "Records the centre has acknowledged.",
		one(func(d *Document) float64 { return float64(d.Uplink.Records) })},
	{"cistern_drained_bytes_total", "counter", "Stored bytes the centre has acknowledged.",
		one(func(d *Document) float64 { return float64(d.Uplink.Bytes) })},
	{"cistern_source_connected", "gauge", "1 while the external broker is connected.",
		func(d *Document, put func(float64, ...string)) {
			for _, s := range d.Sources {
				put(truth(s.Connected), "url", s.URL)
			}
		}},
	{"cistern_source_messages_total", "counter", "Messages read from the external broker.",
		func(d *Document, put func(float64, ...string)) {
			for _, s := range d.Sources {
				put(float64(s.Messages), "url", s.URL)
			}
		}},
	{"cistern_source_lost_total", "counter", "Messages of the external broker that never became records.",
		func(d *Document, put func(float64, ...string)) {
			for _, s := range d.Sources {
				put(float64(s.Rejected), "url", s.URL, "why", "rejected")
				put(float64(s.DroppedQoS0), "url", s.URL, "why", "qos0")
				put(float64(s.SkippedRetained), "url", s.URL, "why", "retained")
			}
		}},
}

// warningValues puts every warning there is, so that an alert can be written
// before the first one fires.
func warningValues(d *Document, put func(float64, ...string)) {
	for _, w := range Warnings {
		on := false
		for _, a := range d.Health {
			on = on || a.Code == w.Code
		}
		put(truth(on), "code", string(w.Code), "severity", string(w.Severity))
	}
}

// WriteMetrics writes d as Prometheus text, then what the parts count in sets of
// their own, then the process.
func WriteMetrics(w io.Writer, d *Document, sets ...*metrics.Set) error {
	out := bufio.NewWriter(w)
	for _, m := range slices.Concat(families, drainFamilies, boardFamilies, siteFamilies) {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		m.values(d, func(value float64, labels ...string) {
			out.WriteString(m.name)
			for i := 0; i+1 < len(labels); i += 2 {
				sep := ","
				if i == 0 {
					sep = "{"
				}
				fmt.Fprintf(out, "%s%s=%q", sep, labels[i], labels[i+1])
			}
			if len(labels) > 0 {
				out.WriteByte('}')
			}
			out.WriteByte(' ')
			out.WriteString(strconv.FormatFloat(value, 'f', -1, 64))
			out.WriteByte('\n')
		})
	}
	for _, s := range sets {
		s.WritePrometheus(out)
	}
	metrics.WritePrometheus(out, true)
	return out.Flush()
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
