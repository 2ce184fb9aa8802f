package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Site is a gateway, the centre, and the uplink between them.
type Site struct {
	Gateway *Gateway
	Centre  *Centre
	Uplink  *Uplink
	dir     string
}

// Programs are the two binaries a site runs.
type Programs struct{ Cistern, Centre string }

// BuildPrograms builds both into dir.
func BuildPrograms(ctx context.Context, dir string) (Programs, error) {
	err := Build(ctx, root(), dir, "cistern/agent/cistern", "cistern/cross/central/standin")
	return Programs{filepath.Join(dir, "cistern"), filepath.Join(dir, "standin")}, err
}

// root is the folder of the main module: tests run in their own folders.
func root() string {
	_, file, _, ok := runtime.Caller(0)
	if ok && filepath.IsAbs(file) {
		return filepath.Join(filepath.Dir(file), "../..")
	}
	return "." // built with -trimpath: run from the root
}

// StartSite starts all three, with the uplink mended. data, when not empty, is
// the gateway's data folder; more is TOML for it.
func StartSite(ctx context.Context, p Programs, data, more string) (*Site, error) {
	s := &Site{}
	if err := s.start(ctx, p, data, more); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Site) start(ctx context.Context, p Programs, data, more string) (err error) {
	if s.dir, err = os.MkdirTemp("", "cistern-"); err != nil {
		return err
	}
	if s.Uplink, err = NewUplink(); err != nil {
		return err
	}
	s.Centre = NewCentre(p.Centre, filepath.Join(s.dir, "centre"), s.Uplink.Address())
	if err = s.Centre.Start(); err != nil {
		return err
	}
	s.Uplink.Mend(s.Centre.Address())
	if data == "" {
		data = filepath.Join(s.dir, "data")
	}
	if s.Gateway, err = NewGateway(p.Cistern, s.dir, data, s.Uplink.Address(), more); err != nil {
		return err
	}
	if err = s.Gateway.Start(ctx); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	return nil
}

// Close ends every process and removes every folder.
func (s *Site) Close() {
	if s.Gateway != nil {
		s.Gateway.Kill()
	}
	if s.Uplink != nil {
		s.Uplink.Close()
	}
	if s.Centre != nil {
		s.Centre.Kill()
	}
	_ = os.RemoveAll(s.dir)
}
