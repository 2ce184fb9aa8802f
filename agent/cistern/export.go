package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
)

const exportHelp = `Export writes records of a gateway as files, so that they can be carried by hand
where its uplink does not reach. By default it takes what is not drained yet, of
every stream.

    $ cistern export --out /media/usb/plant-7
    $ cistern export --out /media/usb/plant-7 --move
    $ cistern export --out all --stream mqtt --from start --format ndjson

It reads the data folder of a gateway that is stopped, by whatever. With --live it
asks the running gateway instead.

The kafka format is that of Kafka's own log segments, batches as they lie on flash:

    $ kafka-dump-log.sh --print-data-log --files plant-7/mqtt-0/*.log

and what "cistern import" takes. The ndjson format is one JSON object per record:
stream, partition, offset, timestamp, key, value, headers; what is not text stands in
key_base64 and value_base64.

Batches go as a whole: those that reach into the range at its begin are in the
export, those that reach beyond its end are not.

Of a stopped gateway of a site it takes as well what waits there for leaders
elsewhere, as cistern.parked.STREAM: ` + "`cistern import`" + ` puts it into STREAM. The site
gets it too when that gateway is started in it again, so do one or the other.

With --move the gateway will not drain what was exported: it goes one way only, once.
Without, the gateway drains it as well as soon as it can.

A folder with an export that was broken off can be used again; it begins anew.
`

// exportFlags are what the command line asked for.
type exportFlags struct {
	where         place
	out, stream   string
	from, to      string
	format        string
	live, move    bool
	first, beyond int64 // of --from and --to: -1 is not given
}

// How --from is said in words.
const (
	fromUndrained = "undrained"
	fromStart     = "start"
)

func newExport() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:  "export --out DIR",
		Long: exportHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.live || f.where.socket != "" || f.where.remote.gateway != "" {
				return f.fromAgent(c)
			}
			return f.fromFolder(c)
		},
	}
	f.where.agentFlags(c)
	flags := c.Flags()
	flags.StringVar(&f.out, "out", "", "write into this `FOLDER`")
	flags.StringVar(&f.stream, "stream", "", "of this `STREAM` alone")
	flags.StringVar(&f.from, "from", fromUndrained, "where to begin: undrained, start or an `OFFSET`")
	flags.StringVar(&f.to, "to", "", "the first `OFFSET` that is left out (default: all there is)")
	flags.StringVar(&f.format, "format", string(export.Kafka), "kafka or ndjson")
	flags.BoolVar(&f.live, "live", false, "ask the running gateway")
	flags.BoolVar(&f.move, "move", false, "have the gateway not drain what was exported")
	return c
}

func (f *exportFlags) check() error {
	f.first, f.beyond = -1, -1
	var err error
	switch {
	case f.out == "":
		return usage("name a folder that is empty or not there yet", "--out is missing")
	case f.format != string(export.Kafka) && f.format != string(export.NDJSON):
		return usage("", "--format is %q; allowed are kafka, ndjson", f.format)
	case f.move && f.from != fromUndrained:
		return usage("leave --from away", "--move takes what is not drained; what was drained would reach the centre twice")
	}
	if f.stream != "" {
		if err := metadata.ValidateStreamName(f.stream); err != nil {
			return usage("", "--stream: %w", err)
		}
	}
	if f.from != fromUndrained && f.from != fromStart {
		if f.first, err = strconv.ParseInt(f.from, 10, 64); err != nil || f.first < 0 {
			return usage("", "--from is %q; allowed are undrained, start, and offsets", f.from)
		}
	}
	if f.to != "" {
		if f.beyond, err = strconv.ParseInt(f.to, 10, 64); err != nil || f.beyond < 0 {
			return usage("", "--to is %q; allowed are offsets", f.to)
		}
	}
	if f.first >= 0 && f.beyond >= 0 && f.beyond <= f.first {
		return usage("--to is the first offset that is left out", "--from %d --to %d is no range", f.first, f.beyond)
	}
	return nil
}

// span is the range of a partition that was asked for.
func (f *exportFlags) span(start, undrained, high int64) (from, to int64) {
	switch {
	case f.first >= 0:
		from = f.first
	case f.from == fromStart:
		from = start
	default:
		from = undrained
	}
	to = high
	if f.beyond >= 0 {
		to = min(to, f.beyond)
	}
	return max(from, start), to
}

func (f *exportFlags) options(c *cobra.Command, m export.Manifest) export.Options {
	m.Producer = "cistern " + fullVersion()
	if f.move {
		m.Move = export.Pending
	}
	return export.Options{Dir: f.out, Format: export.Format(f.format), Manifest: m, Progress: exportProgress(c)}
}

// progressEvery is the time between two lines of progress.
const progressEvery = 200 * time.Millisecond

// exportProgress says on a terminal how far an export has come.
func exportProgress(c *cobra.Command) func(metadata.PartitionID, int64, int64) {
	w := c.ErrOrStderr()
	if !onTerminal(w) {
		return nil
	}
	var last time.Time
	return func(p metadata.PartitionID, records, bytes int64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(w, "\r%s: %s records, %s\x1b[K", p, humanCount(records), humanBytes(bytes))
		}
	}
}

// endProgress takes the line of progress away.
func endProgress(c *cobra.Command) {
	if w := c.ErrOrStderr(); onTerminal(w) {
		fmt.Fprint(w, "\r\x1b[K")
	}
}

// exportError says what to do about an export that did not work.
func exportError(err error, dir string) error {
	switch {
	case errors.Is(err, export.ErrOccupied):
		return hinted(err, "name a folder that is empty or not there yet")
	case err != nil && !errors.As(err, new(*fault)):
		return hinted(err, "the export in "+dir+" is unfinished; the same command begins it anew")
	}
	return err
}

// reportExport says what was written, and what is special about it.
func (f *exportFlags) report(c *cobra.Command, m *export.Manifest) error {
	out := c.OutOrStdout()
	fmt.Fprintf(out, "exported %s of %s, %s, into %s\n", plural64(m.Records(), "record"), plural(len(m.Partitions), "partition"), humanBytes(m.Bytes()), f.out)
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if of, parked := strings.CutPrefix(p.Stream, parkedPrefix); parked {
			fmt.Fprintf(out, "note: %s holds %s for %s/%d that waited here for the leader. It may have the first of them already, and gets all when this gateway is started in its site again: import them only if it never is\n",
				p.ID(), plural64(p.Records, "record"), of, p.Partition)
		}
		if p.InDoubt {
			fmt.Fprintf(out, "note: the drain of %s was broken off without an answer: some records from offset %d on may be at the centre already\n", p.ID(), p.FirstOffset)
		}
		if p.ConfirmedOffset != nil {
			fmt.Fprintf(out, "note: %s is known to be confirmed up to offset %d; records from there on may never have been\n", p.ID(), *p.ConfirmedOffset)
		}
		for _, d := range p.Drained {
			fmt.Fprintf(out, "note: this gateway drained %s offsets %d to %d meanwhile: an import leaves them out\n", p.ID(), d.FirstOffset, d.LastOffset)
		}
		for _, l := range p.Lost {
			fmt.Fprintf(out, "lost: %s offsets %d to %d: %s\n", p.ID(), l.FirstOffset, l.LastOffset, printable(l.Cause))
		}
	}
	switch m.Move {
	case export.Done:
		_, err := fmt.Fprintln(out, "This gateway will not drain them: import them elsewhere.")
		return err
	default:
		_, err := fmt.Fprintln(out, "This gateway drains them as well: imported elsewhere they would reach the centre twice. --move prevents that.")
		return err
	}
}
