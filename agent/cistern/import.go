package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"cistern/bridge/export"
	"cistern/gossip/metadata"
)

const importHelp = `Import gives the records of an export to the running gateway, which keeps and drains
them as if devices had sent them: key, value, headers and time stay, and the header
cistern.imported says where they come from (site/stream/partition/offset/gateway).
The streams have to be there.

    $ cistern import /media/usb/plant-7
    $ cistern import /media/usb/plant-7 --socket /run/cistern.sock

Every file is verified first. Each record is taken once: an import that was broken
off goes on where it stopped when it is called again, also after a power cut. On a
site of several gateways up to one chunk (512 KiB, or one batch) may be taken again
then; the header tells its records.

The gateway remembers by the export's id what it took, of up to 2,048 partitions. When
a folder is not needed any more it can be forgotten; imported once more, its records
would be taken a second time:

    $ cistern import --forget /media/usb/plant-7
    $ cistern import --forget-all

Of a device's records the order is kept among those that are carried. Others of it,
which go another way, may be at the centre before them.
`

func newImport() *cobra.Command {
	var where place
	var anyway bool
	var f forgetFlags
	c := &cobra.Command{
		Use:  "import DIR",
		Long: importHelp,
		Args: arguments(0, 1, "one DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case (len(args) == 0) != f.all:
				return usage("see `cistern import --help`", "cistern import takes one DIR, and --forget-all none")
			case f.all || f.this:
				return f.forget(c, &where, args)
			}
			m, err := readExport(args[0], anyway)
			if err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			if _, err := agent.Status(c.Context()); err != nil { // before an hour of reading
				return err
			}
			if err := verifyExport(c, args[0], m); err != nil {
				return err
			}
			return importInto(c, args[0], m, agent)
		},
	}
	where.agentFlags(c)
	f.flags(c)
	c.Flags().BoolVar(&anyway, "anyway", false, "also when the gateway that exported may drain the same records")
	return c
}

func readExport(dir string, anyway bool) (*export.Manifest, error) {
	m, err := export.ReadManifest(dir)
	switch {
	case errors.Is(err, export.ErrUnfinished):
		return nil, hinted(err, "begin it anew with `cistern export`")
	case errors.Is(err, fs.ErrNotExist):
		return nil, hinted(fmt.Errorf("%s is no export: it has no %s", dir, export.ManifestName), "`cistern export` makes one")
	case err != nil:
		return nil, err
	case m.Format != export.Kafka:
		return nil, fmt.Errorf("%s has the format %s; only %s can be imported", dir, m.Format, export.Kafka)
	case m.Move == export.Pending && !anyway:
		return nil, hinted(fmt.Errorf("%s: %w", dir, export.ErrMovePending), "end it with `cistern export --move` and the same --out, at that gateway's folder; or say --anyway")
	}
	return m, nil
}

// verifyExport reads everything once, before anything is taken.
func verifyExport(c *cobra.Command, dir string, m *export.Manifest) error {
	var read func(int64)
	if w := c.ErrOrStderr(); onTerminal(w) {
		var done, last int64
		var at time.Time
		total := m.Bytes()
		read = func(n int64) {
			done += n
			if now := time.Now(); now.Sub(at) >= progressEvery && done != last {
				at, last = now, done
				fmt.Fprintf(w, "\rverified %s of %s\x1b[K", humanBytes(done), humanBytes(total))
			}
		}
	}
	err := export.Verify(c.Context(), dir, m, read)
	endProgress(c)
	if err != nil && c.Context().Err() == nil {
		return hinted(err, "nothing was imported")
	}
	return err
}

func importInto(c *cobra.Command, dir string, m *export.Manifest, to export.Taker) error {
	var told func(metadata.PartitionID, int64)
	if w := c.ErrOrStderr(); onTerminal(w) {
		total := m.Records()
		told = func(p metadata.PartitionID, records int64) {
			fmt.Fprintf(w, "\r%s: %s of %s records\x1b[K", p, humanCount(records), humanCount(total))
		}
	}
	done, err := export.Import(c.Context(), dir, m, to, told)
	endProgress(c)
	if done.NoteError != nil {
		fmt.Fprintf(c.ErrOrStderr(), "note: progress can't be noted beside the manifest (%v); the gateway alone remembers it\n", done.NoteError)
	}
	if err != nil {
		return hinted(fmt.Errorf("after %s: %w", plural64(done.Records, "record"), err), "the same command goes on where it stopped")
	}
	line := fmt.Sprintf("imported %s", plural64(done.Records, "record"))
	if done.Before > 0 {
		line += fmt.Sprintf("; %s were taken before", humanCount(done.Before))
	}
	if m.Move == export.Copied && done.Records > 0 {
		line += "\nThe gateway that exported them drains them as well, unless its records were moved (export --move)."
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), line)
	return err
}
