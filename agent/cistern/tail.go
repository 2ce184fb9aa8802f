package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/bridge/mqtt/packet"
)

const tailHelp = `Tail shows committed records of the running gateway as they come. FILTER is an
MQTT topic filter; without one every record is shown.

    $ cistern tail 'plant/+/temp'
    $ cistern tail 'alarm/#' --from beginning -n 10
    $ cistern tail --from beginning --follow=false --json > all.ndjson

What it shows is on flash: nothing appears before a device could have been told.
With --json each line is one record with stream, partition, offset, time, topic,
key, headers and value; a value that is not text stands in value_base64, and a
null value in neither.
`

func newTail() *cobra.Command {
	var where place
	var from string
	var asJSON bool
	q := status.TailQuery{Filter: "#"}
	c := &cobra.Command{
		Use:  "tail [FILTER]",
		Long: tailHelp,
		Args: arguments(0, 1, "one FILTER at most; quote it, since # begins a comment in most shells"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				q.Filter = args[0]
			}
			if err := checkTail(&q, from); err != nil {
				return err
			}
			agent, err := where.agent()
			if err != nil {
				return err
			}
			return tail(c, agent, q, asJSON)
		},
	}
	where.agentFlags(c)
	c.Flags().StringVar(&from, "from", "end", "where to begin: beginning or `end`")
	c.Flags().Int64VarP(&q.Count, "number", "n", 0, "stop after `N` records (0: never)")
	c.Flags().BoolVar(&q.Follow, "follow", true, "wait for more records at the end")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per record")
	return c
}

func checkTail(q *status.TailQuery, from string) error {
	q.Beginning = from == "beginning"
	switch {
	case !q.Beginning && from != "end":
		return usage("", "--from is %q; allowed are beginning, end", from)
	case q.Count < 0:
		return usage("", "-n is %d; allowed are whole numbers from 0", q.Count)
	case !packet.ValidFilter(q.Filter):
		return usage("+ stands for one level, # for all the rest, each alone between slashes", "%q is no topic filter", q.Filter)
	}
	return nil
}

func tail(c *cobra.Command, agent *status.Client, q status.TailQuery, asJSON bool) error {
	out := bufio.NewWriter(c.OutOrStdout())
	show := showRecord
	if asJSON {
		show = func(w io.Writer, _ paint, r *status.TailRecord) error { return json.NewEncoder(w).Encode(r) }
	}
	p := newPaint(c.OutOrStdout())
	err := agent.Tail(c.Context(), q, func(r *status.TailRecord) error {
		if err := show(out, p, r); err != nil {
			return err
		}
		return out.Flush()
	})
	if c.Context().Err() != nil {
		return nil // Ctrl-C is how a tail ends
	}
	return err
}

// showRecord prints one record on one line.
func showRecord(w io.Writer, p paint, r *status.TailRecord) error {
	value := "(null)"
	switch {
	case r.Value != nil:
		value = printable(strings.TrimRight(*r.Value, "\r\n"))
	case r.ValueBase64 != nil:
		value = "base64:" + base64.StdEncoding.EncodeToString(r.ValueBase64)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s\n", p.dim(r.Time.Local().Format("2006-01-02 15:04:05.000")), p.bold(printable(r.Topic)), value)
	return err
}
