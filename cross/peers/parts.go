package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"cistern/cross/rig"
)

// part is one table: the servers that are compared, the loads, and what is
// shown of each.
type part struct {
	name    string
	title   string
	remark  string
	servers []server
	rows    []row
	columns []column
	wear    bool // count what reaches the device, in a run of its own
}

// row is one shape of load; rate 0 is as fast as it goes.
type row struct {
	clients, inFlight int
	rate              float64
}

func (r row) String() string {
	if r.rate > 0 {
		return fmt.Sprintf("%d × %.0f/s", r.clients, r.rate)
	}
	return fmt.Sprintf("%d × %d", r.clients, r.inFlight)
}

// cell is its name on the command line.
func (r row) cell() string {
	if r.rate > 0 {
		return fmt.Sprintf("%d@%.0f", r.clients, r.rate)
	}
	return fmt.Sprintf("%dx%d", r.clients, r.inFlight)
}

const natsPackage = "github.com/nats-io/nats-server/v2"

// parts returns what is wanted, with all that it needs built or found. A server
// that is missing is an error, since a comparison that leaves somebody out says
// nothing.
func parts(ctx context.Context, dir string, w wanted) ([]part, error) {
	var all []part
	for _, p := range []part{single(dir), replicated(dir)} {
		if chosen(w.parts, p.name) {
			all = append(all, p.only(w))
		}
	}
	if err := rig.Build(ctx, ".", dir, natsPackage); err != nil {
		return nil, err
	}
	if err := rig.Build(ctx, "../..", dir, "cistern/agent/cistern"); err != nil {
		return nil, err
	}
	for _, p := range all {
		for _, s := range p.servers {
			if _, err := exec.LookPath(s.binary); err != nil {
				return nil, fmt.Errorf("%s is not installed (Debian: apt-get install mosquitto): %w", s.name, err)
			}
		}
	}
	return all, nil
}

func (p part) only(w wanted) part {
	servers, rows := p.servers, p.rows
	p.servers, p.rows = nil, nil
	for _, s := range servers {
		if chosen(w.servers, s.name) {
			p.servers = append(p.servers, s)
		}
	}
	for _, r := range rows {
		if chosen(w.cells, r.cell()) {
			p.rows = append(p.rows, r)
		}
	}
	return p
}

func single(dir string) part {
	nats := filepath.Join(dir, "nats-server")
	mosquitto := "mosquitto"
	if _, err := exec.LookPath(mosquitto); err != nil {
		mosquitto = "/usr/sbin/mosquitto" // not in everybody's path
	}
	return part{
		name:  "single",
		title: "One server",
		servers: []server{
			{"cistern", filepath.Join(dir, "cistern"), cisternAlone},
			{"nats-always", nats, natsAlone("always")},
			{"nats-default", nats, natsAlone("2m")},
			{"mosquitto", mosquitto, mosquittoAlone},
		},
		rows:    []row{{1, 1, 0}, {1, 32, 0}, {16, 1, 0}, {16, 32, 0}, {128, 32, 0}, {16, 1, 100}},
		columns: []column{rate, times, p50, p99, cpu, flushes, rss},
		remark:  "Flushes are those of the whole disk the data lies on: quiet it before believing small numbers.",
	}
}

func replicated(dir string) part {
	return part{
		name:  "replicated",
		title: "Three servers, a copy on each, two of them synced before the PUBACK",
		servers: []server{
			{"cistern", filepath.Join(dir, "cistern"), cisternSite},
			{"nats-r3", filepath.Join(dir, "nats-server"), natsCluster},
		},
		rows:    []row{{1, 1, 0}, {1, 32, 0}, {16, 1, 0}, {16, 32, 0}, {128, 1, 0}, {128, 32, 0}},
		columns: []column{rate, times, p50, p99, cpu, device, rss},
		remark: "CPU is of all three processes together, RSS of the largest. Device bytes are per payload byte and copy,\n" +
			"counted by a loop device with an ext4 of its own in a run of its own.",
		wear: true,
	}
}
