package status

import "strconv"

// drainFamilies are the metrics of the drain; without an uplink most have no
// values.
var drainFamilies = []metric{
	{"cistern_drain_paused", "gauge", "1 while the partition's drain is paused by an operator.",
		perDrained(func(p *Partition) float64 { return truth(p.Paused) })},
	{"cistern_drain_here", "gauge", "1 where this gateway drains the partition.",
		func(d *Document, put func(float64, ...string)) {
			perPartition(func(p *Partition) float64 {
				return truth(p.Drained >= 0 && (d.Site == nil || p.Drainer == d.Gateway.Name))
			})(d, put)
		}},
	{"cistern_drain_flow_records", "gauge", "Records that a flow (live, backfill) has left to send.", flowValues},
	{"cistern_records_skipped_total", "counter", "Records that an operator had the drain skip.",
		perDrained(func(p *Partition) float64 { return float64(p.Skipped) })},
	{"cistern_records_missed_total", "counter", "Records that were gone when their turn to be drained came.",
		perDrained(func(p *Partition) float64 { return float64(p.Missed) })},
	{"cistern_records_retimed_total", "counter", "Records sent with other times, since the centre refused theirs.",
		perDrained(func(p *Partition) float64 { return float64(p.Retimed) })},
	{"cistern_records_abandoned_total", "counter", "Records at the centre that the site gave up in an unclean election.",
		perDrained(func(p *Partition) float64 { return float64(p.Abandoned) })},
	{"cistern_batches_resent_upstream_total", "counter", "Batches that were sent upstream again.",
		perDrained(func(p *Partition) float64 { return float64(p.Resent) })},
	{"cistern_uplink_mode", "gauge", "Always 1; the labels say where to, and how records are kept from arriving twice.",
		func(d *Document, put func(float64, ...string)) {
			if d.Uplink.Kind != "" {
				put(1, "kind", d.Uplink.Kind, "mode", d.Uplink.Mode)
			}
		}},
	{"cistern_uplink_open", "gauge", "1 while hours, budget and ramp let records leave.",
		perPacing(func(p *Pacing) float64 { return truth(p.Open) })},
	{"cistern_uplink_cap_bytes_per_second", "gauge", "The cap that holds now; 0 is none.",
		perPacing(func(p *Pacing) float64 { return float64(p.BytesPerSecond) })},
	{"cistern_uplink_today_bytes", "gauge", "Bytes that left on this local day.",
		perPacing(func(p *Pacing) float64 { return float64(p.BytesToday) })},
	{"cistern_uplink_daily_bytes", "gauge", "Bytes that may leave on a day; 0 is no limit.",
		perPacing(func(p *Pacing) float64 { return float64(p.DailyBytes) })},
}

// perDrained is a metric of each partition that this gateway drains.
func perDrained(get func(p *Partition) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		for _, s := range d.Streams {
			for i := range s.Partitions {
				if p := &s.Partitions[i]; p.Drained >= 0 {
					put(get(p), "stream", s.Name, "partition", strconv.Itoa(int(p.Partition)))
				}
			}
		}
	}
}

func perPacing(get func(p *Pacing) float64) func(*Document, func(float64, ...string)) {
	return func(d *Document, put func(float64, ...string)) {
		if d.Uplink.Pacing != nil {
			put(get(d.Uplink.Pacing))
		}
	}
}

// flowValues sums backfills: there may be several.
func flowValues(d *Document, put func(float64, ...string)) {
	for _, s := range d.Streams {
		for i := range s.Partitions {
			p := &s.Partitions[i]
			if len(p.Flows) == 0 {
				continue
			}
			sums := map[string]int64{}
			for _, f := range p.Flows {
				sums[f.Kind] += f.Records
			}
			for _, kind := range []string{FlowLive, FlowBackfill} {
				put(float64(sums[kind]), "stream", s.Name, "partition", strconv.Itoa(int(p.Partition)), "flow", kind)
			}
		}
	}
}
