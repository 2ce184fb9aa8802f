package status

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestWarningsAreComplete(t *testing.T) {
	seen := map[Code]bool{}
	worst := map[Severity]int{Failing: 0, Warn: 1, Info: 2}
	last := 0
	for _, w := range Warnings {
		rank, known := worst[w.Severity]
		switch {
		case seen[w.Code]:
			t.Errorf("%s is there twice", w.Code)
		case !known || rank < last:
			t.Errorf("%s: severity %q is unknown or out of order", w.Code, w.Severity)
		case w.Title == "" || !strings.HasSuffix(w.Advice, "."):
			t.Errorf("%s needs a title and advice in whole sentences", w.Code)
		case w.Code != Code(strings.ToUpper(string(w.Code))):
			t.Errorf("%s is not in capitals", w.Code)
		}
		seen[w.Code], last = true, rank
	}
}

func TestHealth(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(1000, 0)
	h := &Health{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }}
	if a := h.Active(); a == nil || len(a) != 0 || !Healthy(a) {
		t.Fatalf("at the start: %v", a)
	}

	h.Set(UplinkDown, "kafka:9092 refused")
	h.Set(DiskFullRefusing, "5 of 5 GiB")
	h.Set(UplinkDown, "kafka:9092 timed out")
	a := h.Active()
	if len(a) != 2 || a[0].Code != DiskFullRefusing || a[1].Detail != "kafka:9092 timed out" {
		t.Errorf("want the worst first, and the latest detail: %+v", a)
	}
	if Healthy(a) {
		t.Error("healthy with a full disk")
	}

	now = now.Add(90 * time.Second)
	h.Clear(DiskFullRefusing)
	h.Clear(DiskFullRefusing)
	h.Update(UplinkDown, false, "")
	if len(h.Active()) != 0 {
		t.Errorf("still active: %v", h.Active())
	}
	for text, times := range map[string]int{
		"level=WARN msg=\"the central cluster can't be reached\" code=UPLINK_DOWN": 1,
		"level=ERROR msg=\"flash is full and records are refused\"":                1,
		"level=INFO msg=\"over: flash is full":                                     1, "after=1m30s": 2, "timed out": 0,
	} {
		if got := strings.Count(log.String(), text); got != times {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, got, times, log.String())
		}
	}
}
