package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// gateway is a Gatherer that says what a test wants.
type gateway struct {
	doc     Document
	tails   chan TailQuery // a tail has begun
	records []*TailRecord
}

func (g *gateway) Status() *Document { return &g.doc }

func (g *gateway) Tail(ctx context.Context, q TailQuery, emit func(*TailRecord) error) error {
	g.tails <- q
	for _, r := range g.records {
		if err := emit(r); err != nil {
			return err
		}
	}
	if q.Count == int64(len(g.records)) {
		return nil
	}
	if q.Filter == "broken" {
		return errors.New("segment 3 is damaged")
	}
	<-ctx.Done()
	return ctx.Err()
}

func start(t *testing.T, g *gateway) (s *Server, stop func()) {
	t.Helper()
	g.tails = make(chan TailQuery, tailsMax+1)
	s = &Server{Socket: filepath.Join(t.TempDir(), "s"), HTTP: "127.0.0.1:0", Gatherer: g}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return s, stop
}

func example() *gateway {
	value := `{"c":71.3}`
	return &gateway{
		doc: Document{
			Gateway: Gateway{Name: "g\"1", Version: "v"},
			Health:  []Active{},
			Streams: []Stream{{Name: "mqtt", Partitions: []Partition{{Partition: 3, HighWatermark: 17, Backlog: Backlog{Records: 5, OldestSeconds: 2.5}}}}},
		},
		records: []*TailRecord{
			{Stream: "mqtt", Topic: "plant/a", Value: &value},
			{Stream: "mqtt", Topic: "plant/b", Offset: 1, ValueBase64: []byte{0xff}},
		},
	}
}

func TestStatusOverTheSocket(t *testing.T) {
	s, _ := start(t, example())
	info, err := os.Stat(s.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket: %v, %v", info.Mode(), err)
	}
	d, err := NewClient(s.Socket).Status(t.Context())
	if err != nil || d.Streams[0].Partitions[0].HighWatermark != 17 {
		t.Fatalf("%+v, %v", d, err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestHealthCode(t *testing.T) {
	g := example()
	s, _ := start(t, g)
	url := "http://" + s.Addr().String() + "/health"
	if code, body := get(t, url); code != 200 || !strings.Contains(body, `"warnings": []`) {
		t.Errorf("well: %d %s", code, body)
	}
	var h Health
	h.Set(NoUplinkConfigured, "")
	g.doc.Health = h.Active()
	if code, body := get(t, url); code != 200 || !strings.Contains(body, "NO_UPLINK_CONFIGURED") {
		t.Errorf("buffering: %d %s", code, body)
	}
	h.Set(StoreLatched, "EIO")
	g.doc.Health = h.Active()
	if code, body := get(t, url); code != 503 || !strings.Contains(body, "EIO") {
		t.Errorf("latched: %d %s", code, body)
	}
}

func TestMetrics(t *testing.T) {
	g := example()
	var h Health
	h.Set(UplinkDown, "x")
	g.doc.Health = h.Active()
	s, _ := start(t, g)
	code, body := get(t, "http://"+s.Addr().String()+"/metrics")
	if code != 200 {
		t.Fatal(code, body)
	}
	for _, line := range []string{
		`cistern_info{name="g\"1",site="",version="v"} 1`,
		`cistern_high_watermark{stream="mqtt",partition="3"} 17`,
		`cistern_backlog_oldest_seconds{stream="mqtt",partition="3"} 2.5`,
		`cistern_warning{code="UPLINK_DOWN",severity="warning"} 1`,
		`cistern_warning{code="STORE_LATCHED",severity="error"} 0`,
		`# TYPE cistern_commits_total counter`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	valid := regexp.MustCompile(`^(# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^\n]*"(,\w+="[^\n]*")*\})? [-+0-9.eNaInf]+)$`)
	for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
		if !valid.MatchString(line) {
			t.Errorf("not Prometheus text: %q", line)
		}
	}
}

func TestTail(t *testing.T) {
	g := example()
	s, _ := start(t, g)
	var got []TailRecord
	q := TailQuery{Filter: "plant/#", Beginning: true, Count: 2, Follow: true}
	err := NewClient(s.Socket).Tail(t.Context(), q, func(r *TailRecord) error { got = append(got, *r); return nil })
	if err != nil || len(got) != 2 || *got[0].Value != `{"c":71.3}` || got[1].Value != nil || got[1].ValueBase64[0] != 0xff {
		t.Fatalf("%+v, %v", got, err)
	}
	if asked := <-g.tails; asked != q {
		t.Errorf("asked %+v, want %+v", asked, q)
	}
	err = NewClient(s.Socket).Tail(t.Context(), TailQuery{Filter: "broken"}, func(*TailRecord) error { return nil })
	if err == nil || err.Error() != "segment 3 is damaged" {
		t.Errorf("the cause got lost: %v", err)
	}
}

func TestTailsAreBounded(t *testing.T) {
	g := example()
	s, stop := start(t, g)
	s.stopWait = time.Minute
	ended := make(chan error, tailsMax)
	for range tailsMax {
		go func() {
			ended <- NewClient(s.Socket).Tail(t.Context(), TailQuery{}, func(*TailRecord) error { return nil })
		}()
		<-g.tails
	}
	err := NewClient(s.Socket).Tail(t.Context(), TailQuery{}, func(*TailRecord) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "too many tails") {
		t.Errorf("one more: %v", err)
	}
	stop() // ends the streams with it
	for range tailsMax {
		if err := <-ended; err != nil {
			t.Errorf("a tail ended with %v", err)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	g := example()
	s, _ := start(t, g)
	public := &http.Server{Handler: s.handler(network)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go public.Serve(l)
	defer public.Close()
	for path, want := range map[string]int{"/tail": 404, "/debug/pprof/heap": 404, "/status": 200, "/nothing": 404} {
		if code, _ := get(t, "http://"+l.Addr().String()+path); code != want {
			t.Errorf("public %s: %d, want %d", path, code, want)
		}
	}
	odd := NewClient(s.Socket) // on the socket any name will do
	if body, err := odd.get(t.Context(), "/debug/pprof/heap"); err != nil {
		t.Errorf("socket: %v", err)
	} else {
		body.Close()
	}
	private := "http://" + s.Addr().String()
	for path, want := range map[string]int{"/debug/pprof/goroutine": 200, "/debug/pprof/heap?debug=1": 200, "/debug/pprof/profile?seconds=1": 200, "/debug/pprof/nothing": 404, "/tail?n=-1": 400, "/tail?from=middle": 400, "/tail?follow=maybe": 400} {
		if code, body := get(t, private+path); code != want {
			t.Errorf("private %s: %d, want %d: %s", path, code, want, body)
		}
	}
	for host, want := range map[string]int{"evil.example:80": 403, "localhost:8080": 400, "[::1]:8080": 400, "127.0.0.1": 400} {
		req, err := http.NewRequest("GET", private+"/tail?n=-1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if r, err := http.DefaultClient.Do(req); err != nil || r.StatusCode != want {
			t.Errorf("sent to %s: %v, %v", host, r.StatusCode, err)
		}
	}
	r, err := http.Post(private+"/status", "", strings.NewReader("x"))
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", r.StatusCode, err)
	}
	r.Body.Close()
}

func TestSocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Socket: path}).Listen(); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	os.Remove(path)
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody there: %v", err)
	}

	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Server{Socket: path}).Listen(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("another agent: %v", err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close() // as after kill -9
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a dead one's socket: %v", err)
	}
	s := &Server{Socket: path, Gatherer: example()}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stayed behind: %v", err)
	}
}

func TestLimitListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitListener(inner, 1)
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer dial().Close()
	defer dial().Close()
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { _, err := l.Accept(); second <- err }()
	first.Close()
	first.Close() // releases once only
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	third := make(chan error, 1)
	go func() { _, err := l.Accept(); third <- err }()
	l.Close()
	if err := <-third; !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting Accept: %v", err)
	}
}

// The document's empty lists are lists, for scripts that loop over them.
func TestDocumentJSON(t *testing.T) {
	var h Health
	b, err := json.Marshal(Document{Health: h.Active(), Streams: []Stream{}, Sources: []Source{}, MQTT: MQTT{Listeners: []Listener{}}})
	if err != nil || bytes.Contains(b, []byte("null")) {
		t.Errorf("%s, %v", b, err)
	}
	d := Document{Streams: []Stream{{Backlog: Backlog{5, 50, 10}}, {Backlog: Backlog{2, 20, -1}}}}
	if got := d.BacklogTotal(); got != (Backlog{7, 70, 10}) {
		t.Errorf("total: %+v", got)
	}
	if got := (&Document{}).BacklogTotal(); got.OldestSeconds != -1 {
		t.Errorf("nothing: %+v", got)
	}
}

func TestSetValue(t *testing.T) {
	var r TailRecord
	if r.SetValue(nil); r.Value != nil || r.ValueBase64 != nil {
		t.Errorf("null: %+v", r)
	}
	if r.SetValue([]byte{}); r.Value == nil || *r.Value != "" {
		t.Errorf("empty: %+v", r)
	}
	if r.SetValue([]byte{0xc3, 0x28}); r.Value != nil || len(r.ValueBase64) != 2 {
		t.Errorf("binary: %+v", r)
	}
}
