package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"cistern/cross/build"
)

// Site is one gateway or several, the centre, and the uplink between them.
type Site struct {
	Gateway  *Gateway   // the first, or the only one
	Gateways []*Gateway // all
	Centre   *Centre
	Uplink   *Uplink
	dir      string
	meet     []string // gossip addresses that every gateway is told of
}

// Programs are the two binaries a site runs.
type Programs struct{ Cistern, Centre string }

// BuildPrograms builds both into dir.
func BuildPrograms(ctx context.Context, dir string) (Programs, error) {
	err := Build(ctx, root(), dir, build.Agent, "cistern/cross/central/standin")
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
	if err := s.startOne(ctx, p, data, more); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Site) startOne(ctx context.Context, p Programs, data, more string) error {
	if err := s.startCentre(p); err != nil {
		return err
	}
	if data == "" {
		data = filepath.Join(s.dir, "data")
	}
	var err error
	if s.Gateway, err = NewGateway(p.Cistern, s.dir, data, s.Uplink.Address(), more); err != nil {
		return err
	}
	s.Gateways = []*Gateway{s.Gateway}
	if err := s.Gateway.Start(ctx); err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	return nil
}

// startCentre starts the centre, and the uplink to it.
func (s *Site) startCentre(p Programs) (err error) {
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
	return nil
}

// Close ends every process and removes every folder.
func (s *Site) Close() {
	for _, g := range s.Gateways {
		g.Kill()
	}
	if s.Uplink != nil {
		s.Uplink.Close()
	}
	if s.Centre != nil {
		s.Centre.Kill()
	}
	_ = os.RemoveAll(s.dir)
}
