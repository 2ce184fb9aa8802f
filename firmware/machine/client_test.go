package machine

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// serve answers on a unix socket of the test's own.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	t.Setenv(Env, socket)
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewSaysThatThereIsNoMachine(t *testing.T) {
	t.Setenv(Env, "")
	if _, err := New(); !errors.Is(err, ErrNoMachine) {
		t.Errorf("got %v", err)
	}
}

func TestClientAsksTheContractsPaths(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
		switch r.URL.Path {
		case PathMachine:
			json.NewEncoder(w).Encode(State{Version: "1.2", Other: Slot{Version: "1.1"}})
		case PathUpdate:
			json.NewEncoder(w).Encode(WrittenUpdate{Version: "1.3", Slot: "b"})
		default:
			io.WriteString(w, "{}")
		}
	})
	s, err := c.State(t.Context())
	if err != nil || s.Version != "1.2" || s.Other.Version != "1.1" {
		t.Errorf("state %+v, %v", s, err)
	}
	if w, err := c.Update(t.Context(), strings.NewReader("update")); err != nil || w.Version != "1.3" || w.Slot != "b" {
		t.Errorf("update %+v, %v", w, err)
	}
	for _, err := range []error{c.Reboot(t.Context(), true), c.Poweroff(t.Context()), c.Good(t.Context())} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{"GET /v1/machine ", "POST /v1/update update", `POST /v1/reboot {"try":true}`, "POST /v1/poweroff ", "POST /v1/good "}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked %q", asked)
	}
}

func TestClientPassesOnWhatTheMachineRefuses(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error": "an update is being written"}`)
	})
	// More than socket buffers hold: the refusal comes while the client still sends.
	_, err := c.Update(t.Context(), io.LimitReader(endless{}, 64<<20))
	if err == nil || !strings.Contains(err.Error(), "an update is being written") {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
