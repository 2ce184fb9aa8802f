package machinetest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

func (m *Machine) update(w http.ResponseWriter, r *http.Request) {
	written, code, err := m.take(r.Body)
	if err != nil {
		refuse(w, code, err.Error())
		return
	}
	answer(w, http.StatusOK, written)
}

// take writes an update, or says why not and with which code.
func (m *Machine) take(body io.Reader) (machine.WrittenUpdate, int, error) {
	var none machine.WrittenUpdate
	if err := m.begin(); err != nil {
		return none, http.StatusConflict, err
	}
	manifest, err := slot.ReadHead(body, nil)
	if err == nil && m.Refuse != nil {
		err = m.Refuse(manifest)
	}
	if err == nil {
		err = m.write(body, manifest)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes--
	if err != nil {
		m.asked = append(m.asked, "update broken off")
		return none, http.StatusUnprocessableEntity, err
	}
	m.asked = append(m.asked, "update "+manifest.Version)
	m.state.Other = machine.Slot{Slot: m.state.Other.Slot, Version: manifest.Version, Build: manifest.Build}
	m.state.LastUpdate = &machine.Update{Version: manifest.Version, Build: manifest.Build, Slot: m.state.Other.Slot, Result: machine.Written, At: time.Now()}
	return machine.WrittenUpdate{Version: manifest.Version, Build: manifest.Build, Slot: m.state.Other.Slot}, 0, nil
}

// begin admits one update at a time, and none while one is on trial.
func (m *Machine) begin() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.writes > 0:
		return errors.New("another update is being written")
	case m.state.Trial:
		return errors.New("an update is on trial: wait until it is good or given up")
	}
	m.writes++
	return nil
}

// write reads what would go to the other slot, which holds nothing meanwhile.
func (m *Machine) write(body io.Reader, manifest slot.Manifest) error {
	m.mu.Lock()
	m.state.Other.Version, m.state.Other.Build, m.state.Other.Problem = "", "", "an update was broken off"
	m.mu.Unlock()
	n, err := io.Copy(io.Discard, body)
	if err == nil && n != manifest.PackedBytes {
		err = slot.ErrTruncated
	}
	return err
}

func (m *Machine) reboot(w http.ResponseWriter, r *http.Request) {
	var o machine.RebootOrder
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Try && m.state.Other.Version == "" {
		refuse(w, http.StatusConflict, "the other slot holds nothing that boots: "+m.state.Other.Problem)
		return
	}
	answer(w, http.StatusOK, struct{}{})
	if !o.Try {
		m.asked = append(m.asked, "reboot")
		m.boot(func() {})
		return
	}
	m.asked = append(m.asked, "reboot try")
	m.boot(m.try)
}

func (m *Machine) good(w http.ResponseWriter, _ *http.Request) {
	if m.BeforeGood != nil {
		m.BeforeGood()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, "good")
	answer(w, http.StatusOK, struct{}{})
	if m.state.Trial {
		m.endTrial(machine.Good, "")
	}
}

func refuse(w http.ResponseWriter, code int, why string) {
	answer(w, code, machine.Refusal{Error: why})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
