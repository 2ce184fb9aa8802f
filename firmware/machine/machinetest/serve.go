package machinetest

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"cistern/firmware/machine"
	"cistern/firmware/slot"
)

func (m *Machine) update(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	busy, trial := m.writes > 0, m.state.Trial
	if !busy {
		m.writes++
	}
	m.mu.Unlock()
	if busy {
		refuse(w, http.StatusConflict, "another update is being written")
		return
	}
	defer func() {
		m.mu.Lock()
		m.writes--
		m.mu.Unlock()
	}()
	if trial {
		refuse(w, http.StatusConflict, "an update is on trial: wait until it is good or given up")
		return
	}
	manifest, err := slot.ReadHead(r.Body, nil)
	if err == nil && m.Refuse != nil {
		err = m.Refuse(manifest)
	}
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	m.mu.Lock()
	m.state.Other.Version, m.state.Other.Build, m.state.Other.Problem = "", "", "an update was broken off"
	m.mu.Unlock()
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && n != manifest.PackedBytes {
		err = slot.ErrTruncated
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.asked = append(m.asked, "update broken off")
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	m.asked = append(m.asked, "update "+manifest.Version)
	m.state.Other = machine.Slot{Slot: m.state.Other.Slot, Version: manifest.Version, Build: manifest.Build}
	m.state.LastUpdate = &machine.Update{Version: manifest.Version, Build: manifest.Build, Slot: m.state.Other.Slot, Result: machine.Written, At: time.Now()}
	answer(w, http.StatusOK, machine.WrittenUpdate{Version: manifest.Version, Build: manifest.Build, Slot: m.state.Other.Slot})
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, "good")
	answer(w, http.StatusOK, struct{}{})
	if m.state.Trial {
		m.endTrial(machine.Good, "")
	}
}

func refuse(w http.ResponseWriter, code int, why string) { answer(w, code, machine.Refusal{Error: why}) }

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}
