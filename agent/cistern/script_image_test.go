package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"cistern/agent/status"
	"cistern/firmware/machine"
	"cistern/firmware/machine/machinetest"
	"cistern/firmware/slot"
	"cistern/gossip/port"
	"cistern/gossip/sitekey"
)

// pretendedImage is the machine under a pretender.
type pretendedImage struct{ *machine.Client }

// Machine implements status.MachineAdmin.
func (p pretendedImage) Machine(ctx context.Context) (*status.Machine, error) {
	s, err := p.State(ctx)
	if err != nil {
		return nil, err
	}
	return &status.Machine{State: *s}, nil
}

// openPort makes the site port of the next pretender.
func (s *script) openPort(keyFile string) error {
	key, err := sitekey.Load(filepath.Join(s.dir, keyFile))
	if err != nil {
		return err
	}
	if s.port, err = port.Listen("127.0.0.1:0", key, "gateway-1"); err == nil {
		s.port.Logger = slog.New(slog.DiscardHandler)
	}
	return err
}

// image has the next pretender run from an image of that version. Its agent calls
// every update good at once.
func (s *script) image(args []string) error {
	m := &machinetest.Machine{Release: slot.Release{Version: args[0], Commit: "c0ffee", Board: slot.BoardQemu, Build: "build-" + args[0]}}
	if len(args) > 1 {
		m.Bad = func(string) string { return args[1] }
	}
	m.Up = func(booted machine.State) {
		if booted.Trial {
			if err := machine.NewClient(m.Socket()).Good(context.Background()); err != nil {
				s.Error(err)
			}
		}
	}
	s.machine = m
	s.Cleanup(m.Stop)
	return m.Start()
}

// update makes an update file, or the beginning of one.
func (s *script) update(args []string) error {
	path := filepath.Join(s.dir, args[0])
	r := slot.Release{Version: args[1], Commit: "c0ffee", Board: args[2], Build: "build-" + args[1]}
	if _, err := machinetest.WriteUpdate(path, r, 1<<20); err != nil || len(args) < 4 {
		return err
	}
	size, err := strconv.ParseInt(args[3], 10, 64)
	if err != nil {
		return err
	}
	return os.Truncate(path, size)
}
