package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"cistern/firmware/machine"
)

// orders is what can be asked of the machine. Reboot and Poweroff only begin:
// their answer must still go out.
type orders interface {
	State() *machine.State
	Update(ctx context.Context, file io.Reader) (machine.WrittenUpdate, error)
	Reboot(try bool) error
	Poweroff() error
	Good() error
}

// Limits of the socket. One agent talks to it.
const (
	connectionsMax = 16
	headerBytesMax = 8 << 10
	orderBytesMax  = 4 << 10
	headerTimeout  = 5 * time.Second
	// stallTimeout is how long an update may send nothing: it comes from a
	// laptop through a site's network.
	stallTimeout = 2 * time.Minute
	// lingerMax is how long a sender is listened to after its update was refused.
	lingerMax = 5 * time.Second
)

// errBusy is the reason for 409.
var errBusy = errors.New("not now")

// handler answers on the machine's socket.
func handler(o orders) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+machine.PathMachine, func(w http.ResponseWriter, _ *http.Request) { reply(w, o.State(), nil) })
	mux.HandleFunc("POST "+machine.PathUpdate, func(w http.ResponseWriter, r *http.Request) { update(o, w, r) })
	mux.HandleFunc("POST "+machine.PathReboot, func(w http.ResponseWriter, r *http.Request) {
		var order machine.RebootOrder
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, orderBytesMax))
		if err := d.Decode(&order); err != nil && !errors.Is(err, io.EOF) {
			reply(w, nil, fmt.Errorf("the order to reboot can't be read: %w", err))
			return
		}
		reply(w, struct{}{}, o.Reboot(order.Try))
	})
	mux.HandleFunc("POST "+machine.PathPoweroff, func(w http.ResponseWriter, _ *http.Request) { reply(w, struct{}{}, o.Poweroff()) })
	mux.HandleFunc("POST "+machine.PathGood, func(w http.ResponseWriter, _ *http.Request) { reply(w, struct{}{}, o.Good()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		send(w, http.StatusNotFound, machine.Refusal{Error: fmt.Sprintf("%s %.80s is nothing that can be asked here", r.Method, r.URL.Path)})
	})
	return mux
}

// update takes an update file as it comes. What is wrong with it is often known from
// its head, and who sends would miss the answer on a connection that is closed
// meanwhile: so it goes out at once, and what still comes is read for a while.
func update(o orders, w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // else the server reads on before it answers
	body := &stalling{http.MaxBytesReader(w, r.Body, machine.UpdateBytesMax), control}
	written, err := o.Update(r.Context(), body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		err = fmt.Errorf("the update file has more than %d MiB; none of Cistern has", machine.UpdateBytesMax>>20)
	}
	if err == nil {
		reply(w, written, nil)
		return
	}
	w.Header().Set("Connection", "close")
	reply(w, nil, err)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(lingerMax))
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, machine.UpdateBytesMax))
}

// reply sends an answer, or why there is none.
func reply(w http.ResponseWriter, answer any, err error) {
	switch {
	case err == nil:
		send(w, http.StatusOK, answer)
	case errors.Is(err, errBusy):
		send(w, http.StatusConflict, machine.Refusal{Error: err.Error()})
	default:
		send(w, http.StatusBadRequest, machine.Refusal{Error: err.Error()})
	}
}

func send(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // who asked may have gone; nobody is there to be told
}

// stalling ends a body that has stopped coming.
type stalling struct {
	body    io.Reader
	control *http.ResponseController
}

func (s *stalling) Read(p []byte) (int, error) {
	if err := s.control.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return s.body.Read(p)
}

// server makes the socket's server; its handlers end with ctx.
func server(o orders) *http.Server {
	return &http.Server{Handler: handler(o), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: headerBytesMax}
}
