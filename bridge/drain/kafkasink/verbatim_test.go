package kafkasink

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"cistern/bridge/kafka"
	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// TestVerbatim reads back what the cluster stored: of every codec, the records
// section is the stored one, byte for byte, and the header says what it has to.
func TestVerbatim(t *testing.T) {
	for name, opts := range releases {
		t.Run(name, func(t *testing.T) {
			c := newCentral(t, opts...)
			stream := c.name("verbatim")
			c.create(stream, 1)
			log := newLog(stream, 0)
			for _, codec := range []metadata.Codec{metadata.CodecNone, metadata.CodecSnappy, metadata.CodecLZ4, metadata.CodecZstd} {
				log.append(t, 50, codec)
				log.append(t, 1, codec)
			}
			// One batch near the limit, larger than a chunk.
			log.appendAt(t, 1, metadata.CodecNone, 1700000000000, 900_000)
			g := c.gateway(setup{}, log)
			g.drained(log)
			producer := g.drainer.Status().Partitions[0].ProducerID
			g.stop()

			stored := bytes.Join(log.batches, nil)
			got := c.fetch(t, stream, len(stored))
			if len(got) != len(stored) {
				t.Fatalf("%d bytes upstream, %d here", len(got), len(stored))
			}
			for len(stored) > 0 {
				here, restHere, err := batch.Next(stored)
				if err != nil {
					t.Fatal(err)
				}
				there, restThere, err := batch.Next(got)
				if err != nil {
					t.Fatal(err)
				}
				stored, got = restHere, restThere
				a, _ := batch.ParseHeader(here)
				b, err := batch.Verify(there)
				if err != nil {
					t.Errorf("%s batch of offset %d: %v", a.Codec(), a.BaseOffset, err)
				}
				if !bytes.Equal(here[batch.HeaderLen:], there[batch.HeaderLen:]) {
					t.Errorf("%s batch of offset %d: the records section was changed", a.Codec(), a.BaseOffset)
				}
				if b.Attributes != a.Attributes || b.BaseTimestamp != a.BaseTimestamp || b.MaxTimestamp != a.MaxTimestamp || b.Count != a.Count {
					t.Errorf("header upstream %+v, here %+v", b, a)
				}
				if b.Producer != (batch.Producer{ID: producer, Epoch: 0, Sequence: int32(a.BaseOffset)}) {
					t.Errorf("producer upstream %+v at offset %d", b.Producer, a.BaseOffset)
				}
			}
		})
	}
}

// fetch reads the raw batches of partition 0.
func (c *central) fetch(t *testing.T, topic string, size int) []byte {
	t.Helper()
	k, err := kafka.New(kafka.Config{Brokers: c.seeds})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cluster, err := k.Metadata(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for next := int64(0); len(all) < size; {
		f, err := k.Fetch(ctx, cluster.Topics[topic].Partitions[0].Leader, topic, 0, next, kafka.FetchBytesMax)
		if err != nil {
			t.Fatal(err)
		}
		before := next
		for rest := f.Batches; ; {
			b, r, err := batch.Next(rest)
			if err != nil {
				break
			}
			h, _ := batch.ParseHeader(b)
			all, rest, next = append(all, b...), r, h.NextOffset()
		}
		if next == before {
			t.Fatalf("nothing more upstream at offset %d, %d bytes of %d", next, len(all), size)
		}
	}
	return all
}

// TestKcat has a client that shares no code with us read what was drained.
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed")
	}
	c := newCentral(t)
	stream := c.name("kcat")
	c.create(stream, 1)
	log := newLog(stream, 0)
	for _, codec := range []metadata.Codec{metadata.CodecNone, metadata.CodecSnappy, metadata.CodecLZ4, metadata.CodecZstd} {
		log.append(t, 20, codec)
	}
	g := c.gateway(setup{}, log)
	g.drained(log)
	g.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, kcat, "-C", "-b", c.seeds[0], "-t", stream, "-p", "0", "-o", "beginning",
		"-e", "-q", "-X", "check.crcs=true", "-X", "isolation.level=read_uncommitted", "-f", "%k %s\n").Output()
	if err != nil {
		t.Fatalf("kcat: %v", err)
	}
	var want strings.Builder
	for _, o := range offsets(0, 80) {
		want.WriteString(stream + " " + value(log.id, o) + "\n")
	}
	if string(out) != want.String() {
		t.Errorf("kcat read %d bytes, want %d:\n%.300s", len(out), want.Len(), out)
	}
}
