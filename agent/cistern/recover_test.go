package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cistern/gossip"
	"cistern/gossip/metadata"
	"cistern/gossip/quorum"
	"cistern/segstore"
)

// A gateway that is left of a site of three says which partitions were in sync
// elsewhere only, asks, and goes on alone; another one forgets the site.
func TestRecover(t *testing.T) {
	s := newScript(t)
	data := filepath.Join(s.dir, "cistern-data")
	store, err := segstore.Open(segstore.Config{Dir: data, MaxBytes: 32 << 20, SegmentBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	makeSite(t, filepath.Join(data, quorumFolder))
	s.run("running", "! cistern site recover\nstderr 'an agent is running on this store'\n! cistern site forget\nstderr 'an agent is running'\n")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s.run("stopped", strings.TrimLeft(`
! cistern site recover
exit 1
stderr 'the site has no gateway "'
stderr '^hint: it has gateway-1; name this gateway.s configuration with --config$'

cistern site recover --config c.toml --dry-run
stdout '^gateway-1 knows the site plant-7 \(id [0-9a-f]{16}\) up to log entry \d+ of term \d+\.$'
stdout '^Voters were gateway-1; gateway-1 alone will be'
stdout '^In sync here, and going on: 1 of 3 partitions\.$'
stdout '^    [abc]/0  gateway-2$'
stdout '^    [abc]/0  gateway-3$'
! stdout '^    [abc]/0  gateway-1$'
! cistern site recover --config c.toml
exit 1
stderr '^Type plant-7 to go on: $'
stderr '^cistern: nothing was changed$'
stdin word
cistern site recover --config c.toml
stdout '^The site has the id [0-9a-f]{16} now, and gateway-1 as its only voter\. Start the agent\.$'

cistern site forget --config c.toml --yes
stdout '^gateway-1 will leave the site plant-7'
stdout '^Done'
! cistern site recover --config c.toml
stderr 'is part of no site'
! cistern site forget --config c.toml --yes
stderr 'is part of no site'
! cistern site recover --data nowhere
exit 1
-- word --
plant-7
-- c.toml --
[gateway]
name = "gateway-1"
site = "plant-7"
`, "\n"))
}

// nowhere is a port at which nobody calls.
type nowhere struct{ l net.Listener }

func (n nowhere) Listener(string) net.Listener { return n.l }

func (nowhere) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, os.ErrDeadlineExceeded
}

// makeSite leaves behind what gateway-1 knew of a site of three, of which each
// keeps one partition alone.
func makeSite(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address, quiet := l.Addr().String(), slog.New(slog.NewTextHandler(io.Discard, nil))
	q, err := quorum.Open(quorum.Config{Dir: dir, Name: "gateway-1", Address: address, Port: nowhere{l}, Profile: quorum.Wired(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	self := gossip.Member{Name: "gateway-1", Meta: gossip.Meta{Address: address, Expect: 1}}
	keeper := &quorum.Keeper{Quorum: q, Expect: 1, Members: func() []gossip.Member { return []gossip.Member{self} }, Logger: quiet,
		Changed: func() (<-chan struct{}, func()) { return nil, func() {} }}
	var running sync.WaitGroup
	running.Go(func() { _ = q.Run(ctx) })
	running.Go(func() { _ = keeper.Run(ctx) })
	formed, end := q.Watch()
	defer end()
	for q.Image().Site == "" {
		select {
		case <-formed:
		case <-ctx.Done():
			t.Fatal("the site was not formed")
		}
	}
	agree(t, ctx, q)
	cancel()
	running.Wait()
}

// agree has each gateway make the one partition of a stream while it is the only
// one that is not fenced or removed.
func agree(t *testing.T, ctx context.Context, q *quorum.Quorum) {
	t.Helper()
	propose := func(c metadata.Change) metadata.Result {
		r, err := q.Propose(ctx, c)
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var before metadata.Result
	for i, name := range []string{"gateway-1", "gateway-2", "gateway-3"} {
		if i > 0 {
			propose(metadata.Change{Fence: &metadata.Fence{Node: before.Node, Incarnation: before.Incarnation}})
		}
		before = propose(metadata.Change{Register: &metadata.Register{Name: name, Address: "10.0.0.1:7611", Weight: 1, Version: "1", StoreID: name, StoreIncarnation: 1}})
		c := metadata.DefaultStreamConfig(string(rune('a' + i)))
		c.Replicas = 1
		propose(metadata.Change{PutStream: &metadata.PutStream{Config: c}})
	}
}
