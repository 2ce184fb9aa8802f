package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"cistern/firmware/machine"
)

// Machine is what a gateway runs on that was made by a Cistern image.
type Machine struct {
	machine.State
	// Missing is what keeps an update on trial from being called good.
	Missing []string `json:"trial_missing,omitempty"`
}

// MachineAdmin is what an operator can order of an image. It must allow
// concurrent calls.
type MachineAdmin interface {
	// Machine returns the machine's state now.
	Machine(ctx context.Context) (*Machine, error)
	// Update writes an update file to the slot that does not run. A reader that
	// fails, or ctx, ends it; that slot can't be booted then.
	Update(ctx context.Context, file io.Reader) (machine.WrittenUpdate, error)
	// Reboot has the machine started again; with try, once into the other slot.
	Reboot(ctx context.Context, try bool) error
}

const (
	// updateStallMax is how long a client may send nothing of an update.
	updateStallMax = 30 * time.Second
	// updateTimeout is for all of it: 128 MiB by the slowest uplink that is one.
	updateTimeout = time.Hour
	// lingerMax is how long a client that sends on is listened to after an error:
	// it would miss the answer on a connection that is closed with bytes unread.
	lingerMax = 5 * time.Second
)

func (s *Server) machineOrders(mux *http.ServeMux) {
	ready := func() error {
		if s.Machine == nil {
			return machine.ErrNoMachine
		}
		return nil
	}
	mux.HandleFunc("GET /machine", timed(func(w http.ResponseWriter, r *http.Request) {
		if err := ready(); err != nil {
			answer(w, http.StatusConflict, problem{err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		m, err := s.Machine.Machine(ctx)
		if err != nil {
			answer(w, http.StatusBadGateway, problem{err.Error()})
			return
		}
		answer(w, http.StatusOK, m)
	}))
	order(mux, "/reboot", ready, func(ctx context.Context, o *machine.RebootOrder) (any, error) {
		return struct{}{}, s.Machine.Reboot(ctx, o.Try)
	})
	mux.HandleFunc("POST /update", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(); err != nil {
			answer(w, http.StatusConflict, problem{err.Error()})
			return
		}
		s.update(w, r)
	})
}

// update hands an update file through to the machine as it comes: there is no
// room for it here.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	select {
	case s.updates <- struct{}{}:
	default:
		answer(w, http.StatusServiceUnavailable, problem{"another update is being written; let it end first"})
		return
	}
	done := sync.OnceFunc(func() { <-s.updates })
	defer done()
	if r.ContentLength > machine.UpdateBytesMax {
		answer(w, http.StatusRequestEntityTooLarge, problem{fmt.Sprintf("no update: it has %d bytes, and updates have %d at most", r.ContentLength, machine.UpdateBytesMax)})
		return
	}
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // an answer may come before the end of the file
	ctx, cancel := context.WithTimeout(r.Context(), updateTimeout)
	defer cancel()
	body := &flowing{body: http.MaxBytesReader(w, r.Body, machine.UpdateBytesMax), control: control}
	written, err := s.Machine.Update(ctx, body)
	done() // before the answer: who hears it may send the next file at once
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		answer(w, http.StatusOK, written)
		return
	}
	body.end()
	w.Header().Set("Connection", "close")
	answer(w, http.StatusUnprocessableEntity, problem{err.Error()})
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(lingerMax))
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, machine.UpdateBytesMax))
}

// flowing reads a body whose sender may not stall, until it is ended: who was given
// it to send on may read ahead of its own error (net/http does).
type flowing struct {
	body    io.Reader
	control *http.ResponseController

	reading sync.Mutex
	mu      sync.Mutex
	ended   bool
}

// Read implements io.Reader.
func (f *flowing) Read(b []byte) (int, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	if !f.limit(time.Now().Add(updateStallMax)) {
		return 0, io.ErrClosedPipe
	}
	n, err := f.body.Read(b)
	if err != nil {
		f.limit(time.Time{}) // see readOrder
	}
	return n, err
}

// limit sets the deadline of a read, unless there may be none any more.
func (f *flowing) limit(at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		_ = f.control.SetReadDeadline(at)
	}
	return !f.ended
}

// end returns when nobody reads any more, nor will.
func (f *flowing) end() {
	f.mu.Lock()
	f.ended = true
	_ = f.control.SetReadDeadline(time.Now())
	f.mu.Unlock()
	f.reading.Lock() // until the read that was under way is over
	defer f.reading.Unlock()
}

// Machine asks what the gateway runs on.
func (c *Client) Machine(ctx context.Context) (*Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	body, err := c.get(ctx, "/machine")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m := new(Machine)
	if err := json.NewDecoder(io.LimitReader(body, answerBytesMax)).Decode(m); err != nil {
		return nil, fmt.Errorf("machine of %s: %w", c.where, err)
	}
	return m, nil
}

// Update sends an update file of that many bytes, and returns when it lies in the
// slot that does not run, verified.
func (c *Client) Update(ctx context.Context, file io.Reader, size int64) (machine.WrittenUpdate, error) {
	var w machine.WrittenUpdate
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cistern/update", file)
	if err != nil {
		return w, err
	}
	r.ContentLength = size
	r.Header.Set("Expect", "100-continue") // who refuses at once need not be sent all of it
	resp, err := c.do(r)
	if err != nil {
		return w, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return w, refusal(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerBytesMax)).Decode(&w); err != nil {
		return w, fmt.Errorf("answer from %s: %w", c.where, err)
	}
	return w, nil
}

// Reboot has the gateway's machine started again; with try, once into the other
// slot.
func (c *Client) Reboot(ctx context.Context, try bool) error {
	return c.order(ctx, "/reboot", machine.RebootOrder{Try: try}, &struct{}{})
}

// JudgeMachine sets and clears the warnings about updates of an image.
func JudgeMachine(h *Health, d *Document) {
	m := d.Machine
	if m == nil {
		return
	}
	missing := "nothing: it is about to be called good"
	if len(m.Missing) > 0 {
		missing = list(m.Missing)
	}
	h.Update(UpdateOnTrial, m.Trial, "version %s; still missing: %s", m.Version, missing)
	u := m.LastUpdate
	if u == nil {
		u = new(machine.Update)
	}
	h.Update(UpdateRolledBack, u.Result == machine.RolledBack, "version %s: %s", u.Version, u.Why)
}
