package controller

import (
	"maps"
	"slices"

	"cistern/gossip/metadata"
)

// sources gives every external broker one reader. A reader that is there keeps
// it: a change of reader interrupts, and gains nothing.
func (d *decider) sources() {
	named := map[string]bool{}
	for s := range d.img.Sources {
		named[s] = true
	}
	for _, m := range d.img.Members {
		for _, s := range m.Sources {
			named[s] = true
		}
	}
	for _, s := range slices.Sorted(maps.Keys(named)) {
		d.source(s)
	}
}

func (d *decider) source(name string) {
	now, assigned := d.img.Sources[name]
	reader, known := d.img.Members[now]
	reads := known && slices.Contains(reader.Sources, name)
	if assigned && reads && !reader.Fenced && !reader.Draining {
		return
	}
	candidates := byID(d.img, func(m *metadata.Member) bool { return d.usable(m) && slices.Contains(m.Sources, name) })
	switch next := Place(candidates, metadata.PartitionID{Stream: name}, 1); {
	case len(next) > 0 && (assigned || len(d.img.Sources) < SourcesMax):
		d.propose(metadata.Change{AssignSource: &metadata.AssignSource{Source: name, Node: next[0]}})
	case assigned && !reads:
		d.propose(metadata.Change{AssignSource: &metadata.AssignSource{Source: name, Node: metadata.NoNode}})
	}
}
