package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"cistern/agent"
	"cistern/agent/config"
	"cistern/bridge/drain"
	"cistern/bridge/export"
	"cistern/gossip/metadata"
	"cistern/gossip/quorum"
	"cistern/segstore"
	"cistern/segstore/forward"
	"cistern/segstore/replica"
)

// folder is the data folder of a gateway that is stopped.
type folder struct {
	config config.Config
	store  *segstore.Store
	drains *export.Drains
	site   *metadata.Image // nil: the gateway was on its own
	held   int64           // parked records that were confirmed to nobody, and are not exported
}

var errRunning = hinted(errors.New("an agent is running on this store"), "stop it, or ask it with --live")

// openFolder opens it as the agent would after a crash, so that what a power cut
// tore off is settled.
func (p *place) openFolder() (*folder, error) {
	c, err := p.existing()
	if err != nil {
		return nil, err
	}
	if c.Gateway.Name == "" {
		c.Gateway.Name, _ = os.Hostname()
	}
	n, err := segstore.Inspect(c.Gateway.Data)
	if err != nil {
		return nil, hinted(err, "name the gateway's data folder with --data, or its configuration with --config")
	}
	if n.InUse {
		return nil, errRunning
	}
	o := segstore.Config{Dir: c.Gateway.Data, MaxBytes: c.Storage.MaxBytes, SegmentBytes: c.Storage.SegmentBytes, Logger: slog.New(slog.DiscardHandler)}
	if s := n.Segments(); len(s) > 0 && s[0].Bytes >= segstore.SegmentBytesMin {
		o.SegmentBytes = s[0].Bytes // as they are, whatever the file says now
	}
	f := &folder{config: c}
	if f.site, err = siteOf(c.Gateway.Data); err != nil {
		return nil, err
	}
	if f.store, err = segstore.Open(o); errors.Is(err, segstore.ErrInUse) {
		return nil, errRunning
	}
	if err != nil {
		return nil, err
	}
	var cursors siteCursors
	if f.site != nil {
		cursors = siteCursors{f.site}
		f.drains, err = export.OpenDrains(f.store, cursors)
	} else {
		f.drains, err = export.OpenDrains(f.store, nil)
	}
	if err != nil {
		return nil, errors.Join(err, f.store.Close())
	}
	return f, nil
}

// siteOf is what the folder's gateway knew of its site, nil when it was on its
// own.
func siteOf(data string) (*metadata.Image, error) {
	r, err := quorum.Inspect(filepath.Join(data, quorumFolder))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("what the gateway knew of its site can't be read: %w", err)
	case r.LogIndex == 0:
		return nil, nil
	}
	return r.Image, nil
}

// siteCursors are the drain's cursors as a stopped gateway of a site knew them.
// They are the site's, and can't be changed here.
type siteCursors struct{ image *metadata.Image }

var errSiteCursor = errors.New("the position of the drain belongs to the site")

// Get implements drain.State.
func (s siteCursors) Get(key string) []byte {
	for p, d := range s.image.Drains {
		if key == "drain/"+p.String() {
			return d.Cursor
		}
	}
	return nil
}

// Put implements drain.State.
func (siteCursors) Put(string, []byte) {}

// PutSync implements drain.State.
func (siteCursors) PutSync(string, []byte) error { return errSiteCursor }

// parts are the partitions to export.
func (f *folder) parts(flags *exportFlags) (parts []export.Part, err error) {
	known := flags.stream == ""
	boots := agent.BootsOf(f.store.State(), f.site)
	for _, d := range f.drains.Status() {
		log := f.store.Log(d.Partition)
		if flags.stream != "" && d.Partition.Stream != flags.stream {
			continue
		}
		known = true
		p := export.Part{Log: export.WithClock(log, boots)}
		p.From, p.To = flags.span(log.StartOffset(), d.Cursor, log.HighWatermark())
		if p.From >= p.To {
			continue
		}
		if flags.from == fromUndrained {
			p.InDoubt = f.drains.InDoubt(d.Partition)
			for i, flow := range d.Flows[:max(0, len(d.Flows)-1)] {
				p.Drained = between(p.Drained, flow.To, d.Flows[i+1].Position)
			}
		}
		if f.site != nil {
			confirmed, err := replica.Confirmed(f.store, d.Partition)
			if err != nil {
				return nil, err
			}
			if confirmed < p.To {
				p.Confirmed = &confirmed
			}
		}
		parts = append(parts, p)
	}
	waiting, ofStream := f.parked(flags, boots)
	if !known && !ofStream {
		return nil, hinted(fmt.Errorf("there is no stream %q in this folder", flags.stream), "`cistern check` lists what is in it")
	}
	return append(parts, waiting...), nil
}

// between appends what lies between two flows of a drain, where newer records leave
// first: it is upstream.
func between(all []export.Range, from, to int64) []export.Range {
	if from < to {
		all = append(all, export.Range{From: from, To: to})
	}
	return all
}

// parked are what waits here for leaders elsewhere and was confirmed, as partitions
// of their own: their offsets are those of the parked logs. known says whether there is
// any of the stream that was asked for. Offsets on the command line are not meant for
// them.
func (f *folder) parked(flags *exportFlags, boots func(string) (int64, bool)) (parts []export.Part, known bool) {
	if flags.first >= 0 || flags.beyond >= 0 {
		return nil, false
	}
	for _, w := range forward.FindWaiting(f.store) {
		if of := w.Log.Partition().Stream[len(forward.ParkedPrefix):]; flags.stream != "" && flags.stream != of {
			continue
		}
		known = true
		f.held += w.End - w.Held
		if w.From < w.Held {
			parts = append(parts, export.Part{Log: export.WithClock(w.Log, boots), From: w.From, To: w.Held})
		}
	}
	return parts, known
}

// fromFolder exports what a stopped gateway has.
func (f *exportFlags) fromFolder(c *cobra.Command) (err error) {
	from, err := f.where.openFolder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.store.Close()) }()
	if f.move && from.site != nil {
		return hinted(fmt.Errorf("this folder is of a gateway of the site %s, which drains the same records from others: a move needs the site", from.config.Gateway.Site),
			"export without --move, or with --live at the gateway that drains them")
	}
	if m, pending := f.pendingMove(); pending {
		if m.Store != fmt.Sprintf("%x", from.store.ID()) {
			return fmt.Errorf("%s is an export of another gateway's folder", f.out)
		}
		for _, d := range from.drains.Status() {
			settle(m, d.Partition, undrainedBy(d.Flows), from.drains.InDoubt(d.Partition))
		}
		return f.finishMove(c, m, from.skip(c))
	}
	parts, err := from.parts(f)
	if err != nil {
		return err
	}
	if err := from.sayWhatIsLeftOut(c); err != nil || len(parts) == 0 {
		return errors.Join(err, nothingToExport(c, len(parts)))
	}
	g := &from.config.Gateway
	m, err := export.Export(c.Context(), f.options(c, export.Manifest{Site: g.Site, Gateway: g.Name, Store: fmt.Sprintf("%x", from.store.ID())}), parts)
	endProgress(c)
	if err != nil {
		return exportError(err, f.out)
	}
	if f.move {
		return f.finishMove(c, m, from.skip(c))
	}
	return f.report(c, m)
}

// skip has the drain of a stopped gateway skip what was exported.
func (f *folder) skip(c *cobra.Command) skipper {
	return func(m *export.Manifest, begun func() error) error {
		to := map[metadata.PartitionID]int64{}
		for i := range m.Partitions {
			if p := &m.Partitions[i]; p.Move != export.Done {
				p.Move, to[p.ID()] = export.Pending, p.NextOffset
			}
		}
		if err := begun(); err != nil {
			return err
		}
		return f.drains.Skip(c.Context(), to, whyMoved(m))
	}
}

// skipper has the drain skip what was exported. It marks the partitions whose turn
// has come and calls begun before, so that a move that is broken off there is told
// from one that never came so far.
type skipper func(m *export.Manifest, begun func() error) error

// settle notes what a gateway has drained since its records were exported.
func settle(m *export.Manifest, id metadata.PartitionID, undrained []export.Range, inDoubt bool) {
	for i := range m.Partitions {
		if p := &m.Partitions[i]; p.ID() == id && p.Move != export.Done {
			p.Settle(undrained)
			p.InDoubt = p.InDoubt || inDoubt
		}
	}
}

func undrainedBy(flows []drain.FlowStatus) (all []export.Range) {
	for _, f := range flows {
		all = append(all, export.Range{From: f.Position, To: f.To})
	}
	return all
}

func (f *folder) sayWhatIsLeftOut(c *cobra.Command) error {
	if f.held > 0 {
		_, err := fmt.Fprintf(c.ErrOrStderr(), "note: %s that waited here for leaders elsewhere are not exported: they were confirmed to nobody, and devices send them again\n", plural64(f.held, "record"))
		return err
	}
	return nil
}

func nothingToExport(c *cobra.Command, parts int) error {
	if parts > 0 {
		return nil
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), "there is nothing to export")
	return err
}

func whyMoved(m *export.Manifest) string { return "moved by export " + m.ID }

// pendingMove is the export in the folder whose move has not ended.
func (f *exportFlags) pendingMove() (*export.Manifest, bool) {
	if !f.move {
		return nil, false
	}
	m, err := export.ReadManifest(f.out)
	return m, err == nil && m.Move == export.Pending
}

// finishMove ends a move: the records are in files, durably; now the drain skips
// them, durably; then the manifest says that they may be imported.
func (f *exportFlags) finishMove(c *cobra.Command, m *export.Manifest, skip skipper) error {
	note := func() error { return export.WriteManifest(f.out, m) }
	if err := skip(m, note); err != nil {
		err = errors.Join(err, note()) // which partitions are done
		return hinted(fmt.Errorf("the records are exported, but the gateway still drains them: %w", err), "the same command tries it again")
	}
	m.Move = export.Done
	for i := range m.Partitions {
		m.Partitions[i].Move = export.Done
	}
	if err := export.WriteManifest(f.out, m); err != nil {
		return hinted(err, "the same command tries it again")
	}
	return f.report(c, m)
}
