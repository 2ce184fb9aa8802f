package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// site is a SiteAdmin that writes down what it was told.
type site struct {
	told []string
	err  error
}

func (s *site) DrainNode(_ context.Context, name string, on bool) error {
	s.told = append(s.told, fmt.Sprintf("drain %s %t", name, on))
	return s.err
}

func (s *site) RemoveMember(_ context.Context, name string) error {
	s.told = append(s.told, "remove "+name)
	return s.err
}

func (s *site) Elect(_ context.Context, o ElectOrder) (ElectAnswer, error) {
	s.told = append(s.told, fmt.Sprintf("elect %+v", o))
	return ElectAnswer{"b", "from 17 on"}, s.err
}

func (s *site) ApplyStreams(context.Context) ([]string, error) {
	s.told = append(s.told, "apply")
	return nil, s.err
}

// startSite serves a gateway with that admin.
func startSite(t *testing.T, admin SiteAdmin) *Server {
	t.Helper()
	g := example()
	g.tails = make(chan TailQuery, 1)
	s := &Server{Socket: filepath.Join(t.TempDir(), "s"), HTTP: "127.0.0.1:0", Gatherer: g, Site: admin}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func TestOrders(t *testing.T) {
	fake := &site{}
	c := NewClient(startSite(t, fake).Socket)
	order := ElectOrder{Stream: "mqtt", Partition: 3, To: "b", Unclean: true, Try: true}
	elected, err := c.Elect(t.Context(), order)
	if err != nil || elected != (ElectAnswer{"b", "from 17 on"}) {
		t.Errorf("elect: %+v, %v", elected, err)
	}
	streams, err := c.ApplyStreams(t.Context())
	if err := errors.Join(err, c.DrainNode(t.Context(), "a", true), c.DrainNode(t.Context(), "a", false), c.RemoveMember(t.Context(), "b")); err != nil {
		t.Error(err)
	}
	if streams == nil || len(streams) != 0 {
		t.Errorf("applied: %#v", streams)
	}
	want := []string{fmt.Sprintf("elect %+v", order), "apply", "drain a true", "drain a false", "remove b"}
	if !reflect.DeepEqual(fake.told, want) {
		t.Errorf("told %q\nwant %q", fake.told, want)
	}
	fake.err = errors.New("no such gateway")
	if err := c.RemoveMember(t.Context(), "x"); err == nil || err.Error() != "no such gateway" {
		t.Errorf("refused: %v", err)
	}
}

func TestOrdersAlone(t *testing.T) {
	c := NewClient(startSite(t, nil).Socket)
	if err := c.DrainNode(t.Context(), "a", true); !errors.Is(err, ErrAlone) {
		t.Errorf("got %v", err)
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	fake := &site{}
	s := startSite(t, fake)
	c := NewClient(s.Socket)
	for name, body := range map[string]string{
		"not JSON": "name=a", "too long": `{"name":"` + strings.Repeat("a", orderBytesMax) + `"}`, "of a newer time": `{"name":"a","soon":true}`, "nothing": "",
	} {
		if _, err := c.ask(t.Context(), http.MethodPost, "/site/remove", []byte(body)); err == nil || !strings.HasPrefix(err.Error(), "bad order: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.get(t.Context(), "/site/remove"); err == nil || !strings.Contains(err.Error(), "405") {
		t.Errorf("GET: %v", err)
	}
	// Over TCP there are no orders, not even on a loopback address: a web page
	// that somebody on this machine looks at can send a POST there.
	r, err := http.Post("http://"+s.Addr().String()+"/site/remove", "application/json", strings.NewReader(`{"name":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("over TCP: %s", r.Status)
	}
	if len(fake.told) != 0 {
		t.Errorf("it was told %q", fake.told)
	}
}
