package status

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// access says who can come to a listener.
type access int

const (
	network  access = iota // anybody: no records, no profiles
	loopback               // anybody on this machine
	socket                 // whoever owns the data
	operator               // whoever holds the site's key, from wherever
)

// handler serves the public pages, and to those who are near records and
// profiles as well. Orders are taken from whoever owns the data or holds the
// site's key: with that one could join the site and do worse.
func (s *Server) handler(who access) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", timed(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Gatherer.Status())
	}))
	mux.HandleFunc("GET /health", timed(s.health))
	mux.HandleFunc("GET /metrics", timed(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = WriteMetrics(w, s.Gatherer.Status(), s.Sets...) // the scraper is gone: nobody to tell
	}))
	for path, h := range map[string]http.HandlerFunc{
		"/tail":               s.tail,
		"/debug/pprof/{name}": profiles,
	} {
		switch who {
		case loopback:
			mux.HandleFunc("GET "+path, local(h))
		case socket, operator:
			mux.HandleFunc("GET "+path, h)
		}
	}
	switch who {
	case socket:
		s.orders(mux)
		return mux
	case operator:
		s.orders(mux)
		return s.noted(mux)
	}
	return http.MaxBytesHandler(mux, 0)
}

// noted logs what operators change from afar: who has the key of a site leaves no
// other trace on a gateway.
func (s *Server) noted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.logger().Info("status: an operator's order by the site port", "order", r.URL.Path, "from", r.RemoteAddr)
		}
		h.ServeHTTP(w, r)
	})
}

// local refuses requests that were sent to a name. A web page that somebody on
// this machine looks at may make its own name point to 127.0.0.1 (DNS rebinding)
// and read what is meant for this machine alone; it can't change the name its
// requests carry.
func local(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "localhost" || err == nil && ip.IsLoopback() {
			h(w, r)
			return
		}
		answer(w, http.StatusForbidden, problem{"use the address itself, or the unix socket"})
	}
}

// timed bounds the time an answer may take to be written. It is set per
// request, since streams and profiles take as long as they take.
func timed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
		h(w, r)
	}
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	active, code := s.Gatherer.Status().Health, http.StatusOK
	healthy := Healthy(active)
	if !healthy {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, map[string]any{"healthy": healthy, "warnings": active})
}

// tail streams committed records, one line each.
func (s *Server) tail(w http.ResponseWriter, r *http.Request) {
	q, err := parseTailQuery(r.URL.Query())
	if err != nil {
		answer(w, http.StatusBadRequest, problem{err.Error()})
		return
	}
	select {
	case s.tails <- struct{}{}:
		defer func() { <-s.tails }()
	default:
		answer(w, http.StatusServiceUnavailable, problem{"too many tails are running; end one of them first"})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control, lines := http.NewResponseController(w), json.NewEncoder(w)
	_ = control.Flush() // the client learns that it is connected
	err = s.Gatherer.Tail(r.Context(), q, func(rec *TailRecord) error {
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := lines.Encode(rec); err != nil {
			return err
		}
		return control.Flush()
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		_ = lines.Encode(problem{err.Error()})
	}
}

// problem is what a client reads instead of an answer.
type problem struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client is gone: nobody to tell
}
