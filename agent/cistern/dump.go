package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cistern/gossip/metadata"
	"cistern/segstore"
)

const dumpHelp = `Dump shows what the journal's files hold. Without an argument, or with a data
folder, it lists the segments; with the name of a segment its commits and the
batches in them, and with --records every record.

    $ cistern dump
    $ cistern dump /var/lib/cistern
    $ cistern dump /var/lib/cistern/segments/00000002.seg --records

On a site "mqtt/0 (parked)" are batches for mqtt/0 that waited here for its leader;
they have offsets of their own, and may have been handed over since.

A patch holds batches that flash lost here, as another gateway gave them back; it
is listed after the segments. The file of a batch that was set aside is shown as well:

    $ cistern dump /var/lib/cistern/segments/00000000.patch
    $ cistern dump /var/lib/cistern/quarantine/mqtt-0-100-120.batch

Dump changes nothing. Beside a running agent it shows what is there; the newest
segment may grow meanwhile.
`

// parkedPrefix begins the streams in which a gateway of a site keeps what waits
// for a leader.
const parkedPrefix = metadata.ReservedPrefix + "parked."

// shownPartition names a partition of the journal for people: what is parked is
// a partition of another kind, with offsets of its own.
func shownPartition(name string) string {
	if of, parked := strings.CutPrefix(name, parkedPrefix); parked {
		return of + " (parked)"
	}
	return name
}

const (
	segmentSuffix = ".seg"
	patchSuffix   = ".patch"
	batchSuffix   = ".batch"
)

// dumper is one run of dump: where it writes, and how.
type dumper struct {
	out     *bufio.Writer
	paint   paint
	json    bool
	records bool
}

func newDump() *cobra.Command {
	var where place
	var d dumper
	c := &cobra.Command{
		Use:  "dump [SEGMENT|PATCH|DIR]",
		Long: dumpHelp,
		Args: arguments(0, 1, "one SEGMENT, PATCH or DIR at most"),
		RunE: func(c *cobra.Command, args []string) error {
			d.out, d.paint = bufio.NewWriter(c.OutOrStdout()), newPaint(c.OutOrStdout())
			if err := d.run(&where, args); err != nil {
				return err
			}
			return d.out.Flush()
		},
	}
	where.flags(c)
	c.Flags().BoolVar(&d.records, "records", false, "show every record")
	c.Flags().BoolVar(&d.json, "json", false, "print JSON: an array of segments, or one object per line for commits")
	return c
}

func (d *dumper) run(where *place, args []string) error {
	file := ""
	if len(args) > 0 {
		file = args[0]
	}
	switch filepath.Ext(file) {
	case batchSuffix:
		return d.batchFile(file)
	case segmentSuffix:
		return d.segment(file)
	case patchSuffix:
		return d.patch(file)
	}
	n, dir, err := where.inspect(args)
	if err != nil {
		return err
	}
	return d.list(n, dir)
}

// list shows the segments of a store.
func (d *dumper) list(n *segstore.Inspector, dir string) error {
	segments := n.Segments()
	if d.json {
		return writeJSON(d.out, segments)
	}
	var b strings.Builder
	var t table
	t.row("FILE", "LANE", "STATE", "SEGMENT", "COMMITS", "SIZE")
	for _, s := range segments {
		commits := "-"
		switch s.State {
		case "sealed":
			commits = fmt.Sprintf("%d to %d", s.FirstSeq, s.LastSeq)
		case "open":
			commits = fmt.Sprintf("from %d", s.FirstSeq)
		}
		t.row(filepath.Join(dir, "segments", s.File), dash(s.Lane), s.State, id(s.ID), commits, humanBytes(s.Bytes))
	}
	t.write(&b)
	for _, s := range segments {
		if s.Problem != "" {
			fmt.Fprintf(&b, "%s %s: %s\n", d.paint.red("damaged:"), s.File, s.Problem)
		}
	}
	d.patches(&b, n, dir)
	if n.InUse {
		b.WriteString("\nAn agent is running on this store.\n")
	}
	_, err := io.WriteString(d.out, b.String())
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func id(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// segment shows one segment file of the store around it.
func (d *dumper) segment(file string) error {
	if _, err := os.Stat(file); err != nil {
		return hinted(err, "`cistern dump` lists the segments of a store")
	}
	n, err := segstore.Inspect(filepath.Dir(filepath.Dir(file)))
	if err != nil {
		return hinted(err, "a segment is read where it lies: DATA/segments/NAME.seg")
	}
	for _, s := range n.Segments() {
		if s.File != filepath.Base(file) {
			continue
		}
		if s.Problem != "" {
			return fmt.Errorf("%s: %s", s.File, s.Problem)
		}
		return d.commits(n, s)
	}
	return fmt.Errorf("%s is no segment of the store around it", file)
}
