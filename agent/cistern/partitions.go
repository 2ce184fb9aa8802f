package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cistern/agent/status"
	"cistern/gossip/metadata"
)

const partitionsHelp = `Partitions shows who leads each partition, who keeps copies, and which of them are
in sync, as the running gateway here knows it.

    $ cistern partitions
    $ cistern partitions mqtt
    $ cistern partitions --json | jq '.[] | select(.under_replicated)'

Replicas are named with the preferred leader first. FROM, TO and END are this
gateway's own copy: TO is the high watermark, below which everything is confirmed,
END is what it has beyond that. LAG is how far the slowest follower is behind; only
the leader knows.

"partitions elect" chooses another leader, and after a disaster one that does not
have everything:

    $ cistern partitions elect mqtt/3 --to gateway-2
    $ cistern partitions elect mqtt/3 --unclean
`

// partitionJSON is one partition of --json.
type partitionJSON struct {
	Stream string `json:"stream"`
	status.Partition
}

func newPartitions() *cobra.Command {
	var where place
	var asJSON bool
	c := &cobra.Command{
		Use:  "partitions [STREAM]",
		Long: partitionsHelp,
		Args: arguments(0, 1, "one STREAM at most, or: partitions elect STREAM/PARTITION"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := where.ask(c)
			if err != nil {
				return err
			}
			all, err := choosePartitions(d, args)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), all)
			}
			return showPartitions(c.OutOrStdout(), d, all)
		},
	}
	where.agentFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	c.AddCommand(newElect())
	return c
}

// choosePartitions returns the partitions of one stream, or all.
func choosePartitions(d *status.Document, args []string) ([]partitionJSON, error) {
	all, names := []partitionJSON{}, []string{}
	for _, s := range d.Streams {
		names = append(names, s.Name)
		if len(args) > 0 && args[0] != s.Name {
			continue
		}
		for _, p := range s.Partitions {
			all = append(all, partitionJSON{s.Name, p})
		}
	}
	if len(args) > 0 && len(all) == 0 {
		return nil, hinted(fmt.Errorf("there is no stream %q", args[0]), "there are "+strings.Join(names, ", "))
	}
	return all, nil
}

func showPartitions(w io.Writer, d *status.Document, all []partitionJSON) error {
	t := table{left: []int{1, 3, 4, 9}}
	t.row("PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "FROM", "TO", "END", "LAG", "")
	for i := range all {
		p := &all[i]
		from, to, end, lag := "-", "-", "-", "-"
		if d.Site == nil || p.Role != "" {
			from, to, end = humanCount(p.StartOffset), humanCount(p.HighWatermark), humanCount(p.EndOffset)
		}
		if n := p.Lag(); n >= 0 {
			lag = humanCount(n)
		}
		t.row(fmt.Sprintf("%s/%d", p.Stream, p.Partition.Partition), dash(p.Leader), strconv.Itoa(int(p.LeaderEpoch)),
			dash(strings.Join(p.Replicas, ",")), dash(strings.Join(p.ISR, ",")), from, to, end, lag, partitionNote(d, p))
	}
	var b strings.Builder
	t.write(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// partitionNote says what is not well with a partition.
func partitionNote(d *status.Document, p *partitionJSON) string {
	var notes []string
	if d.Site != nil && p.Leader == "" {
		notes = append(notes, "no leader")
	}
	if p.UnderReplicated {
		missing := slices.DeleteFunc(slices.Clone(p.Replicas), func(name string) bool { return slices.Contains(p.ISR, name) })
		notes = append(notes, "under-replicated: not "+strings.Join(missing, ", "))
	}
	if d.Site != nil && p.Leader != "" && len(p.ISR) < p.MinInsync {
		notes = append(notes, fmt.Sprintf("confirms nothing: min_insync is %d", p.MinInsync))
	}
	if p.Unclean > 0 {
		notes = append(notes, fmt.Sprintf("%d unclean elections", p.Unclean))
	}
	return strings.Join(notes, "; ")
}

// parsePartition reads STREAM/PARTITION.
func parsePartition(s string) (metadata.PartitionID, error) {
	stream, number, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil || metadata.ValidateStreamName(stream) != nil {
		return metadata.PartitionID{}, usage("partitions look like mqtt/3; `cistern partitions` lists them", "%q is no partition", s)
	}
	return metadata.PartitionID{Stream: stream, Partition: int32(n)}, nil
}
