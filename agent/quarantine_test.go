package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cistern/bridge/drain"
	"cistern/gossip/metadata"
)

func poison(first, last int64, size int) drain.Poison {
	return drain.Poison{
		Partition: metadata.PartitionID{Stream: "mqtt", Partition: 3}, FirstOffset: first, LastOffset: last,
		Reason: "MESSAGE_TOO_LARGE", Detail: "the topic takes 1000 bytes", Time: time.Unix(1e9, 0), Batch: make([]byte, size),
	}
}

func TestQuarantine(t *testing.T) {
	data := t.TempDir()
	q, err := openQuarantine(data, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the same may come again after a crash
		if err := q.Add(poison(10, 12, 500)); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(data, "quarantine")
	if b, err := os.ReadFile(filepath.Join(folder, "mqtt-3-10-12.batch")); err != nil || len(b) != 500 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	var v verdict
	b, err := os.ReadFile(filepath.Join(folder, "mqtt-3-10-12.json"))
	if err != nil || json.Unmarshal(b, &v) != nil || v.FirstOffset != 10 || v.Reason != "MESSAGE_TOO_LARGE" {
		t.Errorf("%s, %v", b, err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	data := t.TempDir()
	folder := filepath.Join(data, "quarantine")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, tmpPrefix+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(folder, "mqtt-3-0-9.batch")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(old, quarantineBytesMax-400); err != nil { // sparse
		t.Fatal(err)
	}
	q, err := openQuarantine(data, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Add(poison(10, 12, 500)); err == nil || !strings.Contains(err.Error(), "would pass its limit") {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Errorf("want the old one only, what a crash left gone: %v, %v", entries, err)
	}
}
