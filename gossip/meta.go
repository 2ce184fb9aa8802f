package gossip

import (
	"fmt"

	"github.com/hashicorp/memberlist"
	"github.com/vmihailenco/msgpack/v5"
)

// MetaBytesMax limits an encoded Meta: it rides in every packet about its
// gateway.
const MetaBytesMax = memberlist.MetaMaxSize

// Meta is what a gateway tells all others about itself. It travels as msgpack:
// fields are added and never renamed, and unknown ones are ignored, so that
// versions mix.
type Meta struct {
	Address      string `msgpack:"a,omitempty"` // host:port of its site port
	Zone         string `msgpack:"z,omitempty"`
	Version      string `msgpack:"v,omitempty"`
	Formed       string `msgpack:"f,omitempty"` // the random ID of the site it is part of; "" before
	Expect       int    `msgpack:"x,omitempty"` // bootstrap_expect
	Incarnation  uint64 `msgpack:"i,omitempty"` // see metadata.Member
	Uplink       string `msgpack:"u,omitempty"` // state of its way to the centre
	FlashFree    int64  `msgpack:"ff,omitempty"`
	FlashLatched bool   `msgpack:"fl,omitempty"` // its flash failed and confirms nothing
	Voter        bool   `msgpack:"vo,omitempty"` // votes on metadata
	Leaving      bool   `msgpack:"l,omitempty"`  // is about to leave; set by Run
}

// leavingBytes is what Leaving takes. There has to be room for it, whatever
// else was said.
const leavingBytes = 3

// encode returns m as it travels.
func (m *Meta) encode() ([]byte, error) {
	b, err := msgpack.Marshal(m)
	if err == nil && len(b) > MetaBytesMax-leavingBytes && !m.Leaving {
		err = fmt.Errorf("what it would tell the site about itself has %d bytes, allowed are %d: shorten zone, version or uplink",
			len(b), MetaBytesMax-leavingBytes)
	}
	return b, err
}

// decodeMeta reads what a peer sent. What can't be read counts as nothing said:
// the peer is alive all the same.
func decodeMeta(b []byte) Meta {
	var m Meta
	if len(b) > MetaBytesMax || msgpack.Unmarshal(b, &m) != nil {
		return Meta{}
	}
	return m
}

// flashFreeStep is the share of free flash that is worth telling: it changes
// with every commit, and each change is a packet to everybody.
const flashFreeStep = 16

// worthTelling reports whether the site should hear of b after a.
func worthTelling(a, b Meta) bool {
	free := b.FlashFree
	diff := max(free-a.FlashFree, a.FlashFree-free)
	b.FlashFree = a.FlashFree
	return a != b || diff > a.FlashFree/flashFreeStep || free == 0 && diff > 0
}
