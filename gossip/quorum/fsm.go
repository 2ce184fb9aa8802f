package quorum

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"cistern/gossip/controller"
	"cistern/gossip/metadata"
)

// machine is raft.FSM: it applies changes to the image, one after the other on
// one goroutine of raft's, and publishes each. It does the same on every
// gateway, and nothing in the log makes it panic.
type machine struct {
	image   atomic.Pointer[metadata.Image]
	behind  atomic.Pointer[string] // why this gateway can't go on, nil when it can
	refused atomic.Int64           // changes that no gateway understood
	site    atomic.Pointer[string] // the site's id, durable; known before the log is applied
	watch   *watchers
	log     *slog.Logger
	applied func(*raft.Log) // nil, or told of each change
	store   *store          // keeps site; nil: it is not kept
}

func newMachine(s *store, w *watchers, log *slog.Logger) *machine {
	m := &machine{store: s, watch: w, log: log}
	m.image.Store(metadata.NewImage())
	return m
}

// Apply implements raft.FSM; it returns a metadata.Result.
//
// A change that only newer gateways understand stops the image right there: it
// stays a true, older one, and the log is kept from there on until this gateway
// is updated.
func (m *machine) Apply(l *raft.Log) any {
	if why := m.behind.Load(); why != nil {
		return metadata.Refusal(metadata.ErrNotAllowed, *why)
	}
	img := m.image.Load()
	if l.Index <= img.Index { // a snapshot had it
		return metadata.Refusal(metadata.ErrInvalid, fmt.Sprintf("change %d was made before", l.Index))
	}
	c, err := decodeChange(l.Data)
	if errors.Is(err, errNewer) {
		why := fmt.Sprintf("at change %d: %v", l.Index, err)
		m.behind.Store(&why)
		m.log.Error("this gateway's metadata stands still", "index", l.Index, "error", err)
		m.watch.wake()
		return metadata.Refusal(metadata.ErrNotAllowed, why)
	}
	next, result := img, metadata.Result{}
	if err == nil {
		next, result, err = applyGuarded(img, l.Index, c)
	}
	if err != nil {
		m.refused.Add(1)
		m.log.Error("a change was refused by every gateway", "index", l.Index, "error", err)
		skipped := *img
		skipped.Index = l.Index
		next, result = &skipped, metadata.Refusal(metadata.ErrInvalid, err.Error())
	}
	result.Index = l.Index
	m.publish(next)
	if m.applied != nil {
		m.applied(l)
	}
	return result
}

var keySite = []byte("cistern-site")

// publish makes an image the current one. A site's id is kept apart as well: a
// gateway that starts applies its log only when a raft leader tells how far, and
// has to say before which site it is of.
func (m *machine) publish(img *metadata.Image) {
	m.image.Store(img)
	if site := m.site.Load(); img.Site != "" && (site == nil || *site != img.Site) {
		m.site.Store(&img.Site)
		if m.store != nil {
			if err := m.store.Set(keySite, []byte(img.Site)); err != nil {
				m.log.Error("the site's id could not be kept", "site", img.Site, "error", err)
			}
		}
	}
	m.watch.wake()
}

// applyGuarded makes a panic an error: the same on every gateway, as the input
// is the same.
func applyGuarded(img *metadata.Image, index uint64, c metadata.Change) (next *metadata.Image, r metadata.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("controller: %v", p)
		}
	}()
	next, r = controller.Apply(img, index, c)
	return next, r, nil
}

// Snapshot implements raft.FSM. The image never changes, so there is nothing
// to copy.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if why := m.behind.Load(); why != nil {
		return nil, fmt.Errorf("no snapshot: %s", *why)
	}
	return imageSnapshot{m.image.Load()}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, snapshotBytesMax+1))
	if err != nil {
		return err
	}
	img, err := decodeImage(b)
	if err != nil {
		m.log.Error("a snapshot of the metadata was refused", "error", err)
		return err
	}
	m.behind.Store(nil)
	m.publish(img)
	return nil
}

type imageSnapshot struct{ img *metadata.Image }

// Persist implements raft.FSMSnapshot.
func (s imageSnapshot) Persist(to raft.SnapshotSink) error {
	b, err := encodeImage(s.img)
	if err == nil {
		_, err = to.Write(b)
	}
	if err != nil {
		return errors.Join(err, to.Cancel())
	}
	return to.Close()
}

// Release implements raft.FSMSnapshot.
func (imageSnapshot) Release() {}
