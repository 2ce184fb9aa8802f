package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cistern/segstore"
)

const checkHelp = `Check reads every byte of a store and verifies what can be verified: every
checksum, that indexes say what the journal holds, that no offset is missing. It
changes nothing. The agent must be stopped, since its newest segment is never
finished.

    $ cistern check
    $ cistern check /var/lib/cistern --json

It exits with 4 when it found damage. Damaged records were reported by the agent
too; it fetches them from another gateway of its site, or leaves them out when it
drains. The rest of the store is fine. What another gateway gave back is shown as
mended, and is no damage any more.
`

func newCheck() *cobra.Command {
	var where place
	var asJSON bool
	c := &cobra.Command{
		Use:  "check [DIR]",
		Long: checkHelp,
		Args: arguments(0, 1, "one DIR at most"),
		RunE: func(c *cobra.Command, args []string) error {
			n, _, err := where.inspect(args)
			if err != nil {
				return err
			}
			r, err := n.Check(showProgress(c.ErrOrStderr()))
			if errors.Is(err, segstore.ErrInUse) {
				return hinted(errors.New("an agent is running on this store"), "stop it first; `cistern status` shows how it is, `cistern dump` what can be seen meanwhile")
			}
			if err != nil {
				return err
			}
			show := showCheck
			if asJSON {
				show = func(w io.Writer, r *segstore.CheckReport) error { return writeJSON(w, r) }
			}
			if err := show(c.OutOrStdout(), &r); err != nil {
				return err
			}
			if len(r.Problems) > 0 {
				return &fault{errors.New("the store is damaged"), "", exitDamaged}
			}
			return nil
		},
	}
	where.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return c
}

// inspect opens the store that an argument or the flags name, for reading.
func (p *place) inspect(args []string) (*segstore.Inspector, string, error) {
	dir := ""
	if len(args) > 0 {
		dir = args[0]
	} else {
		c, err := p.existing()
		if err != nil {
			return nil, "", err
		}
		dir = c.Gateway.Data
	}
	n, err := segstore.Inspect(dir)
	if err != nil {
		return nil, "", hinted(err, "name the gateway's data folder, or its configuration with --config")
	}
	return n, dir, nil
}

// showProgress says on a terminal how far a long check has come.
func showProgress(w io.Writer) func(done, of int) {
	if !newPaint(w).on {
		return func(int, int) {}
	}
	return func(done, of int) {
		fmt.Fprintf(w, "\r%d of %d segments", done, of)
		if done == of {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func showCheck(w io.Writer, r *segstore.CheckReport) error {
	var b strings.Builder
	var t table
	t.row("PARTITION", "FROM", "TO", "RECORDS")
	for _, name := range slices.Sorted(maps.Keys(r.Partitions)) {
		p := r.Partitions[name]
		t.row(shownPartition(name), humanCount(p.First), humanCount(p.Next), humanCount(p.Records))
	}
	if len(r.Partitions) > 0 {
		t.write(&b)
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s segments, %s commits, %s batches, %s records, %s: ",
		humanCount(int64(r.Segments)), humanCount(r.Commits), humanCount(r.Batches), humanCount(r.Records), humanBytes(r.Bytes))
	p := newPaint(w)
	switch {
	case len(r.Problems) > 0:
		b.WriteString(p.red("damage found") + "\n")
	case len(r.Mended) > 0:
		b.WriteString("all damage is mended\n")
	default:
		b.WriteString("no damage\n")
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "  %s\n", problem)
	}
	if len(r.Mended) > 0 {
		b.WriteString("mended, from another gateway:\n")
	}
	for _, mended := range r.Mended {
		fmt.Fprintf(&b, "  %s\n", mended)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
