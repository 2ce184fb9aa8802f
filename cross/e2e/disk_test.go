//go:build e2e

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"cistern/agent/status"
	"cistern/cross/rig"
)

// smallDisk is an ext4 of its own for the gateway's folder.
func smallDisk(t *testing.T, size int64) *rig.Disk {
	t.Helper()
	d, err := rig.NewDisk(size)
	if err != nil {
		t.Skip("no loop-mounted disk here: ", err)
	}
	t.Cleanup(d.Close)
	return d
}

// refuses waits until the gateway confirms nothing more.
func refuses(t *testing.T, l *rig.Ledger, quiet, most time.Duration) {
	t.Helper()
	last, since := l.Tally().Confirmed, time.Now()
	for end := time.Now().Add(most); time.Since(since) < quiet; time.Sleep(10 * time.Millisecond) {
		if n := l.Tally().Confirmed; n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(end) {
			t.Fatalf("still confirming after %s", most)
		}
	}
}

// saysSo wants a gateway that confirms nothing to report an error.
func saysSo(t *testing.T, s *rig.Site) {
	t.Helper()
	now, err := s.Gateway.Status(t.Context())
	must(t, err)
	if status.Healthy(now.Health) {
		t.Errorf("nothing is confirmed, and the status finds nothing wrong: %+v", now.Health)
	}
	for _, h := range now.Health {
		t.Logf("%s: %s", h.Code, h.Detail)
	}
}

// The store reaches the room it was given: it refuses, says so, keeps what it
// confirmed, and goes on by itself once the uplink has made room.
func TestStoreFull(t *testing.T) {
	d := smallDisk(t, 96<<20)
	s, l := startSite(t, filepath.Join(d.Dir, "data"), "[storage]\nmax_bytes = \"32MiB\"\nsegment_bytes = \"2MiB\"\n"+
		"[[stream]]\nname = \"mqtt\"\ncodec = \"none\"\nretention = \"1s\"\n"), rig.NewLedger()
	ctx := within(t, 4*time.Minute)
	s.Uplink.Cut()
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 16, 0)
	refuses(t, l, 3*time.Second, 2*time.Minute)
	saysSo(t, s)
	s.Uplink.Mend(s.Centre.Address())
	must(t, l.AwaitConfirmed(ctx, 1000))
	must(t, fleet.Stop())
	judge(t, s, l)
}

// Somebody else fills the file system below the store.
func TestFileSystemFull(t *testing.T) {
	d := smallDisk(t, 96<<20)
	s, l := startSite(t, filepath.Join(d.Dir, "data"), "[storage]\nmax_bytes = \"64MiB\"\nsegment_bytes = \"2MiB\"\n"+
		"[[stream]]\nname = \"mqtt\"\ncodec = \"none\"\nretention = \"1s\"\n"), rig.NewLedger()
	ctx := within(t, 4*time.Minute)
	s.Uplink.Cut()
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 16, 0)
	must(t, l.AwaitConfirmed(ctx, 1000))
	foreign := filepath.Join(d.Dir, "foreign")
	fill(t, foreign)
	refuses(t, l, 3*time.Second, 2*time.Minute)
	saysSo(t, s)

	// Killed while full, it has to open without being able to write a byte.
	s.Gateway.Kill()
	must(t, s.Gateway.Start(ctx))
	must(t, os.Remove(foreign))
	s.Uplink.Mend(s.Centre.Address())
	must(t, l.AwaitConfirmed(ctx, 1000))
	must(t, fleet.Stop())
	judge(t, s, l)
}

// fill writes a file until nothing fits any more.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		block := make([]byte, size)
		for err == nil {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	must(t, f.Sync())
}

// The file system turns read-only under the gateway, as ext4 does after an I/O
// error. Nothing is confirmed any more; after a repair and a restart all that
// was confirmed is there.
func TestReadOnly(t *testing.T) {
	d := smallDisk(t, 96<<20)
	s, l := startSite(t, filepath.Join(d.Dir, "data"), "[storage]\nmax_bytes = \"64MiB\"\nsegment_bytes = \"2MiB\"\n"), rig.NewLedger()
	ctx := within(t, 3*time.Minute)
	s.Uplink.Cut()
	fleet := rig.StartFleet(ctx, s.Gateway.Address, l, 4, time.Millisecond)
	must(t, l.AwaitConfirmed(ctx, 1000))
	must(t, d.Abort())
	refuses(t, l, 2*time.Second, time.Minute)
	saysSo(t, s)
	s.Gateway.Kill()
	must(t, d.Reattach())
	must(t, s.Gateway.Start(ctx))
	must(t, l.AwaitConfirmed(ctx, 1000))
	must(t, fleet.Stop())
	judge(t, s, l)
}
