package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/segstore"
)

// carrier is a Carrier with one log, which takes what it is given.
type carrier struct {
	chunks  []export.Chunk
	err     error
	forgot  string
	entered chan struct{} // nil: Import returns at once
	leave   chan struct{}
}

func (c *carrier) Imported(_ context.Context, chunk export.Chunk) (int64, error) {
	c.chunks = append(c.chunks, chunk)
	return 7, c.err
}

func (c *carrier) Forget(export string) (int, error) {
	c.forgot = export
	return 3, c.err
}

func (c *carrier) Import(_ context.Context, chunk export.Chunk) (int64, error) {
	if c.entered != nil {
		c.entered <- struct{}{}
		<-c.leave
	}
	c.chunks = append(c.chunks, chunk)
	return chunk.From + 1, c.err
}

func (c *carrier) Log(p metadata.PartitionID) (export.Log, error) {
	if p.Stream != "mqtt" {
		return nil, fmt.Errorf("%s: %w", p, segstore.ErrUnknownStream)
	}
	return carried{p}, nil
}

// carried is a log of offsets 10 to 29: what is read names the offset, 20 to 24
// are lost.
type carried struct{ id metadata.PartitionID }

func (l carried) Partition() metadata.PartitionID { return l.id }
func (l carried) StartOffset() int64              { return 10 }
func (l carried) HighWatermark() int64            { return 30 }

func (l carried) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	switch {
	case offset < 10 || offset > 30:
		return buf, segstore.ErrOffsetOutOfRange
	case offset == 30:
		return buf, nil
	case offset >= 20 && offset < 25:
		return buf, &segstore.CorruptError{Stream: "mqtt", FirstOffset: 20, LastOffset: 24, Cause: errors.New("a \"bad\" block\nof flash")}
	}
	return fmt.Appendf(buf, "%d of %d", offset, sizeMax), nil
}

func (g *gateway) withCarrier(t *testing.T, c Carrier) *Client {
	t.Helper()
	s := startSite(t, nil)
	s.Carrier = c
	return NewClient(s.Socket)
}

func TestReadingBatches(t *testing.T) {
	c := example().withCarrier(t, &carrier{})
	log := c.Log(t.Context(), "mqtt", &Partition{Partition: 3, StartOffset: 1, HighWatermark: 2})
	if log.Partition() != (metadata.PartitionID{Stream: "mqtt", Partition: 3}) || log.StartOffset() != 1 || log.HighWatermark() != 2 {
		t.Errorf("%+v", log)
	}
	b, err := log.Read(12, []byte("before "), 1<<20)
	if err != nil || string(b) != "before 12 of 1048576" || log.StartOffset() != 10 || log.HighWatermark() != 30 {
		t.Errorf("%q, %v, %+v", b, err, log)
	}
	if b, err = log.Read(30, nil, 1); err != nil || len(b) != 0 {
		t.Errorf("at the end: %q, %v", b, err)
	}
	if _, err = log.Read(9, nil, 1); !errors.Is(err, segstore.ErrOffsetOutOfRange) {
		t.Errorf("dropped: %v", err)
	}
	var lost *segstore.CorruptError
	if _, err = log.Read(22, nil, 1); !errors.As(err, &lost) || lost.FirstOffset != 22 || lost.LastOffset != 24 || !strings.Contains(err.Error(), `"bad" block`) {
		t.Errorf("lost: %v", err)
	}
	if _, err = c.Log(t.Context(), "other", &Partition{}).Read(0, nil, 1); err == nil || !strings.Contains(err.Error(), "unknown stream") {
		t.Errorf("another stream: %v", err)
	}
	if _, err = c.Log(t.Context(), "mqtt", &Partition{}).Read(-1, nil, 1); err == nil || !strings.Contains(err.Error(), "bad query") {
		t.Errorf("a wrong offset: %v", err)
	}
}

func TestTakingChunks(t *testing.T) {
	fake := &carrier{}
	c := example().withCarrier(t, fake)
	chunk := export.Chunk{Export: "0123456789abcdef", Site: "plant 7/&", Gateway: "g 1", Partition: metadata.PartitionID{Stream: "mqtt", Partition: 3}, From: 41, Batches: []byte{0, 1, 2}}
	next, err := c.Import(t.Context(), chunk)
	if err != nil || next != 42 || !reflect.DeepEqual(fake.chunks, []export.Chunk{chunk}) {
		t.Errorf("%d, %v, %+v", next, err, fake.chunks)
	}
	chunk.Batches = nil
	if next, err = c.Imported(t.Context(), chunk); err != nil || next != 7 || !reflect.DeepEqual(fake.chunks[1], chunk) {
		t.Errorf("%d, %v, %+v", next, err, fake.chunks)
	}
	if n, err := c.Forget(t.Context(), "0123456789abcdef"); n != 3 || err != nil || fake.forgot != "0123456789abcdef" {
		t.Errorf("%d, %v, %q", n, err, fake.forgot)
	}
	fake.err = errors.New("flash is full")
	if _, err := c.Forget(t.Context(), ""); err == nil || err.Error() != "flash is full" || fake.forgot != "" {
		t.Error(err)
	}
	if _, err = c.Import(t.Context(), chunk); err == nil || err.Error() != "flash is full" {
		t.Error(err)
	}
	fake.chunks, fake.err = nil, nil
	for name, change := range map[string]func(c *export.Chunk){
		"no export":    func(c *export.Chunk) { c.Export = "" },
		"a long one":   func(c *export.Chunk) { c.Export = strings.Repeat("a", exportIDMax+1) },
		"no stream":    func(c *export.Chunk) { c.Partition.Stream = "" },
		"a folder":     func(c *export.Chunk) { c.Partition.Stream = "../x" },
		"an offset":    func(c *export.Chunk) { c.From = -1 },
		"a partition":  func(c *export.Chunk) { c.Partition.Partition = -1 },
		"a huge chunk": func(c *export.Chunk) { c.Batches = bytes.Repeat([]byte{1}, export.ChunkBytesMax+1) },
	} {
		wrong := chunk
		change(&wrong)
		if _, err := c.Import(t.Context(), wrong); err == nil || !strings.HasPrefix(err.Error(), "bad ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(fake.chunks) != 0 {
		t.Errorf("it took %+v", fake.chunks)
	}
}

// One chunk at a time is in memory.
func TestTwoImports(t *testing.T) {
	fake := &carrier{entered: make(chan struct{}), leave: make(chan struct{})}
	c := example().withCarrier(t, fake)
	chunk := export.Chunk{Export: "a", Partition: metadata.PartitionID{Stream: "mqtt"}}
	first := make(chan error, 1)
	go func() { _, err := c.Import(t.Context(), chunk); first <- err }()
	<-fake.entered
	if _, err := c.Import(t.Context(), chunk); err == nil || !strings.Contains(err.Error(), "another import is running") {
		t.Error(err)
	}
	if _, err := c.Forget(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "an import is running") {
		t.Error(err)
	}
	close(fake.leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Over TCP nothing is carried, in or out.
func TestCarryingIsForTheSocket(t *testing.T) {
	s := startSite(t, nil)
	s.Carrier = &carrier{}
	for _, path := range []string{"/batches?stream=mqtt&partition=0&offset=10&bytes=1", "/import?export=a&stream=mqtt&partition=0&from=0"} {
		if code, body := get(t, "http://"+s.Addr().String()+path); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// drains is a DrainAdmin that writes down what it was told.
type drains struct{ told []string }

func (d *drains) PauseDrain(_ context.Context, o PauseOrder) (PauseAnswer, error) {
	d.told = append(d.told, fmt.Sprintf("pause %+v", o))
	return PauseAnswer{Elsewhere: []DrainedAt{{"mqtt/1", "b"}, {"mqtt/2", ""}}}, nil
}

func (d *drains) SkipDrain(_ context.Context, o SkipOrder) (SkipAnswer, error) {
	d.told = append(d.told, fmt.Sprintf("skip %+v", o))
	return SkipAnswer{First: 1, Next: 5, Records: 4}, nil
}

func TestDrainOrders(t *testing.T) {
	s := startSite(t, nil)
	fake := &drains{}
	s.Drain = fake
	c := NewClient(s.Socket)
	a, err := c.PauseDrain(t.Context(), PauseOrder{"mqtt", AllPartitions, true})
	if err != nil || a.Done == nil || len(a.Done) != 0 || len(a.Elsewhere) != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	if got := fmt.Sprint(a.Elsewhere); got != "[mqtt/1 is drained by b mqtt/2 is drained by nobody now]" {
		t.Error(got)
	}
	skipped, err := c.SkipDrain(t.Context(), SkipOrder{Stream: "mqtt", Partition: 2, To: SkipToEnd, Why: "w", Try: true})
	if err != nil || skipped != (SkipAnswer{First: 1, Next: 5, Records: 4}) {
		t.Errorf("%+v, %v", skipped, err)
	}
	if _, err := c.SkipDrain(t.Context(), SkipOrder{To: -2}); err == nil {
		t.Error("offset -2")
	}
	want := []string{"pause {Stream:mqtt Partition:-1 On:true}", "skip {Stream:mqtt Partition:2 To:-1 Why:w Try:true Exported:false}"}
	if !slices.Equal(fake.told, want) {
		t.Errorf("told %q", fake.told)
	}
	s.Drain = nil
	if _, err := c.PauseDrain(t.Context(), PauseOrder{}); !errors.Is(err, ErrNoUplink) {
		t.Error(err)
	}
	r, err := http.Post("http://"+s.Addr().String()+"/drain/pause", "application/json", io.NopCloser(strings.NewReader("{}")))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("over TCP: %s", r.Status)
	}
}
