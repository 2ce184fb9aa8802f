package config

import (
	"fmt"
	"time"

	"cistern/gossip/metadata"
	"cistern/segstore"
	"cistern/segstore/segment"
)

// readConfig takes every section out of the file, into c, which holds the
// defaults. What can be said only about the whole comes last.
func readConfig(root *table, c *Config) {
	readGateway(root.table("gateway"), &c.Gateway)
	readSite(root.table("site"), &c.Site)
	readStorage(root.table("storage"), &c.Storage)
	readStreams(root, c)
	readMQTT(root.table("mqtt"), &c.MQTT)
	readUplink(root.table("uplink"), &c.Uplink)
	readStatus(root.table("status"), &c.Status)
	readLog(root.table("log"), &c.Log)
	readBoard(root.table("board"), &c.Board)
	readMachine(root.table("machine"))
	checkMember(root.doc, c)
	checkRoutes(root.doc, c)
	checkSources(root.doc, c)
	c.fill()
}

func readGateway(t *table, g *Gateway) {
	t.text("name", &g.Name)
	t.text("site", &g.Site)
	t.text("data", &g.Data)
	t.size("memory_limit", &g.MemoryLimit, 0, 1<<40)
	if g.Site == "" {
		t.fail("site", "", "is empty; the centre tells sites apart by it")
	}
	if g.Data == "" {
		t.fail("data", "", "is empty; it must name a folder")
	}
	t.done()
}

func readStorage(t *table, s *Storage) {
	t.size("max_bytes", &s.MaxBytes, 0, 1<<50)
	t.size("segment_bytes", &s.SegmentBytes, segmentBytesMin, segstore.SegmentBytesMax)
	t.size("daily_write_budget", &s.DailyWriteBudget, 0, 1<<50)
	t.duration("scrub_every", &s.ScrubEvery, 0, 365*24*time.Hour)
	if s.SegmentBytes%segment.PageSize != 0 {
		t.fail("segment_bytes", "", "is %s; must be a multiple of %s", FormatSize(s.SegmentBytes), FormatSize(segment.PageSize))
	}
	if s.MaxBytes > 0 && s.MaxBytes < segmentsMin*s.SegmentBytes {
		t.fail("max_bytes", "0 takes 80 % of the file system", "is %s; at least %d segments of %s must fit",
			FormatSize(s.MaxBytes), segmentsMin, FormatSize(s.SegmentBytes))
	}
	t.done()
}

const (
	// segmentsMin segments are what one lane needs: one to write, one to fill
	// next, and room for something to stay.
	segmentsMin = 4
	// segmentBytesMin leaves room for the largest batch and a footer.
	segmentBytesMin = 2 << 20
)

// readStreams replaces the default streams by those of the file.
func readStreams(root *table, c *Config) {
	if !root.has("stream") {
		root.known = append(root.known, "stream")
		return
	}
	c.Streams = nil
	root.each("stream", func(t *table) {
		s := metadata.DefaultStreamConfig("")
		readStream(t, &s)
		if _, twice := c.Stream(s.Name); twice && s.Name != "" {
			t.fail("name", "each stream is declared once", "%q was declared above", s.Name)
		}
		c.Streams = append(c.Streams, s)
	})
}

func readStream(t *table, s *metadata.StreamConfig) {
	partitions := int(s.Partitions)
	t.text("name", &s.Name)
	t.integer("partitions", &partitions, 1, metadata.PartitionsMax)
	s.Partitions = int32(partitions)
	t.text("lane", &s.Lane, metadata.Lanes...)
	t.acks("acks", &s.Acks)
	t.codec("codec", &s.Codec)
	t.window("commit_window", &s.CommitWindow)
	t.duration("commit_latency_max", &s.CommitLatencyMax, time.Millisecond, time.Minute)
	commitBytes := int64(s.CommitBytes)
	t.size("commit_bytes", &commitBytes, 1, metadata.CommitBytesMax)
	s.CommitBytes = int(commitBytes)
	t.duration("retention", &s.RetentionTime, 0, daysMax*day)
	t.size("retention_bytes", &s.RetentionBytes, 0, 1<<50)
	t.flag("drop_undrained", &s.DropUndrained)
	t.whenFull("when_full", &s.WhenFull)
	t.integer("replicas", &s.Replicas, 0, metadata.ReplicasMax)
	t.integer("min_insync", &s.MinInsync, 0, metadata.ReplicasMax)
	if s.Replicas > 0 && s.MinInsync > s.Replicas {
		t.fail("min_insync", "", "is %d; of %d replicas no more can be in sync", s.MinInsync, s.Replicas)
	}
	if !t.has("name") {
		t.doc.fail(t.path, "add name = \"...\"", "a stream needs a name")
	} else if err := checkStreamName(s.Name); err != nil {
		t.fail("name", "", "%s", err)
	}
}

func checkStreamName(name string) error {
	if metadata.IsReserved(name) {
		return fmt.Errorf("is %q; names that begin with %s are the gateway's own", name, metadata.ReservedPrefix)
	}
	return metadata.ValidateStreamName(name)
}

func readTLS(t *table, s *TLS, switchable bool) {
	if switchable {
		s.Enabled = t.values != nil // writing the section turns it on
		t.flag("enabled", &s.Enabled)
	}
	t.text("ca_file", &s.CAFile)
	t.text("cert_file", &s.CertFile)
	t.text("key_file", &s.KeyFile)
	t.text("server_name", &s.ServerName)
	if (s.CertFile == "") != (s.KeyFile == "") {
		t.doc.fail(t.path, "", "cert_file and key_file go together")
	}
	t.done()
}

func readStatus(t *table, s *Status) {
	t.text("socket", &s.Socket)
	t.text("http", &s.HTTP)
	if err := checkHostPort(s.HTTP); s.HTTP != "" && err != nil {
		t.fail("http", "addresses look like \"127.0.0.1:8080\"", "%s", err)
	}
	if s.Socket != "" {
		if err := checkSocket(s.Socket); err != nil {
			t.fail("socket", "", "%s", err)
		}
	}
	t.done()
}

func readLog(t *table, l *Log) {
	t.text("level", &l.Level, "debug", "info", "warn", "error")
	t.text("format", &l.Format, "text", "json")
	t.done()
}
