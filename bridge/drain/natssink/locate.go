package natssink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"cistern/bridge/drain"
	"cistern/bridge/nats"
)

const errCodeNoMessage = 10037

// stored is a message of the stream.
type stored struct {
	Seq    uint64 `json:"seq"`
	Header []byte `json:"hdrs"`
}

func (m *stored) flows() (flows, bool) {
	h, _, err := nats.ParseHeader(m.Header)
	if err != nil {
		return nil, false
	}
	return parseFlows(h, m.Seq)
}

// get asks for one message; nil: there is none.
func (ch *chain) get(ctx context.Context, question map[string]any) (*stored, error) {
	var answer struct {
		Message *stored `json:"message"`
	}
	err := ch.way.call(ctx, "STREAM.MSG.GET", question, &answer)
	if e, ok := errors.AsType[*apiError](err); ok && e.ErrCode == errCodeNoMessage {
		return nil, nil
	}
	if err == nil && answer.Message == nil {
		err = fmt.Errorf("%w: an answer without a message", nats.ErrProtocol)
	}
	return answer.Message, err
}

// open looks the subject up where that is needed, and gives the cursor its place.
func (ch *chain) open(ctx context.Context, c *drain.Cursor, to drain.Target, how drain.Opening) error {
	if c.Producer >= 0 && c.Target != to {
		ch.way.sink.cfg.Logger.Warn("the subject is of another stream than before: counting begins anew", "subject", to.Topic, "offset", c.Position)
	}
	fresh := c.Producer < 0 || c.Target != to
	if !ch.loaded || fresh || how.First || how.Relocate || how.Contradicted || how.Forgotten {
		if err := ch.load(ctx, c); err != nil {
			return fmt.Errorf("looking for the position on %s: %w", ch.subject, err)
		}
	}
	if fresh {
		c.Incarnate(ch.way.sink.cfg.Now(), to, rand.Int64N(1<<53), 0, int64(ch.last))
	} else if err := ch.place(ctx, c); err != nil {
		return err
	}
	own, known := ch.flows.find(c.Producer)
	if !known || own.resume != c.Position {
		own = flow{id: c.Producer, next: c.Position, resume: c.Position, seq: uint64(max(0, c.Upstream))}
	}
	ch.flows = ch.flows.with(own)
	return nil
}

// load reads what the subject's last message says. If it is not ours, whoever
// made it does not know of the chain: the messages behind our last acknowledged
// one are looked through for the last that is.
func (ch *chain) load(ctx context.Context, c *drain.Cursor) error {
	ch.loaded = false
	before := ch.flows
	last, err := ch.get(ctx, map[string]any{"last_by_subj": ch.subject})
	if err != nil {
		return err
	}
	ch.last, ch.flows = 0, nil
	if last != nil {
		ch.last = last.Seq
		found, ours := last.flows()
		if !ours {
			if found, err = ch.scan(ctx, uint64(max(0, c.Upstream))+1, last.Seq); err != nil {
				return err
			}
		}
		ch.flows = found
	}
	// Flows that have opened a lane and sent nothing yet are known here only. One
	// that has sent something must be found; if it is not, its lane is to look.
	for _, f := range before {
		if _, known := ch.flows.find(f.id); !known && f.seq <= ch.last {
			ch.flows = append(flows{f}, ch.flows...)
		}
	}
	ch.loaded = true
	return nil
}

// scan looks through the messages [from, to) of the subject.
func (ch *chain) scan(ctx context.Context, from, to uint64) (found flows, err error) {
	for range ScanMax {
		if from >= to {
			return found, nil
		}
		m, err := ch.get(ctx, map[string]any{"seq": from, "next_by_subj": ch.subject})
		if err != nil {
			return nil, err
		}
		if m == nil || m.Seq < from {
			return found, nil
		}
		if f, ours := m.flows(); ours {
			found = f
		}
		from = m.Seq + 1
	}
	return nil, &drain.Error{Verdict: drain.Denied, Err: fmt.Errorf("somebody else publishes to %s: it needs to be ours alone; remove his messages behind sequence %d", ch.subject, from-1)}
}

// place corrects the cursor by what upstream has of its flow.
func (ch *chain) place(ctx context.Context, c *drain.Cursor) error {
	own, known := ch.flows.find(c.Producer)
	upstream := uint64(max(0, c.Upstream))
	switch {
	case known && own.seq == upstream:
		// The last that was acknowledged: the cursor says it more exactly, since
		// it knows what was given up behind it.
		return nil
	case known && own.seq > upstream:
		c.Position, c.Upstream = own.resume, int64(own.seq)
		return nil
	case !known && ch.last >= upstream:
		return nil // nothing was sent under this name
	}
	if !known {
		own = flow{resume: c.Base, seq: ch.last}
	}
	lost := ch.last >= upstream // others have gone on without it
	if !lost {
		var now streamInfo
		if err := ch.way.call(ctx, "STREAM.INFO", struct{}{}, &now); err != nil {
			return err
		}
		lost = now.State.LastSeq < upstream
	}
	if lost {
		ch.regress(c, own.resume, int64(own.seq))
	}
	return nil // else it was there: it has expired, or was removed on purpose
}

// regress goes back: upstream has lost what it had acknowledged. Sequence numbers
// mean nothing on a subject, so the base may follow.
func (ch *chain) regress(c *drain.Cursor, to, upstream int64) {
	ch.way.sink.cfg.Logger.Error("upstream has lost records that it had acknowledged: they are sent again, as far as they are still here",
		"subject", ch.subject, "from", to, "to", c.Position)
	c.Position, c.Upstream, c.Base = to, upstream, min(c.Base, to)
}
