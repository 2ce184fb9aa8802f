package quorum

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"cistern/gossip/metadata"
)

// A frame of ProtocolQuorum is its length, 4 bytes, and msgpack. Requests are
// answered in any order, each with its ID. Fields are added, never renamed; a
// request of an unknown kind is answered statusUnknownKind.

type requestKind uint8

const (
	kindPropose requestKind = 1 // Change; answered with Result
	kindInvite  requestKind = 2 // Invite; answered with statusOK or statusRefused
	kindAsk     requestKind = 3 // answered with Applied, Last, Site and Removed
)

type answerStatus uint8

const (
	statusOK          answerStatus = 0
	statusNotLeader   answerStatus = 1 // nothing was done
	statusUnknownFate answerStatus = 2
	statusRefused     answerStatus = 3
	statusUnknownKind answerStatus = 4
)

type request struct {
	ID     uint64      `msgpack:"i"`
	Kind   requestKind `msgpack:"k"`
	WaitMS int64       `msgpack:"w,omitempty"` // how long the asker waits
	Change []byte      `msgpack:"c,omitempty"`
	Invite *promise    `msgpack:"v,omitempty"`
}

type answer struct {
	ID      uint64           `msgpack:"i"`
	Status  answerStatus     `msgpack:"s,omitempty"`
	Detail  string           `msgpack:"d,omitempty"`
	Result  *metadata.Result `msgpack:"r,omitempty"`
	Applied uint64           `msgpack:"a,omitempty"` // raft index up to which the image is
	Last    uint64           `msgpack:"l,omitempty"` // the last raft index here
	Site    string           `msgpack:"site,omitempty"`
	Removed bool             `msgpack:"gone,omitempty"` // Site has the asker no more; only its raft leader says so
}

// wait returns for how long to work on r, never longer than allowed here.
func (r *request) wait() time.Duration {
	if ms := r.WaitMS; ms > 0 && ms < forwardTimeoutMax.Milliseconds() {
		return time.Duration(ms) * time.Millisecond
	}
	return forwardTimeoutMax
}

func writeFrame(w io.Writer, v any) error {
	b, err := msgpack.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > frameBytesMax {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(b))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

// readFrame reads one frame into v. Its length is checked before memory is
// taken.
func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > frameBytesMax {
		return fmt.Errorf("frame of %d bytes, allowed are 1 to %d", n, frameBytesMax)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if err := msgpack.Unmarshal(b, v); err != nil {
		return fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	return nil
}
