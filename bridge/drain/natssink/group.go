package natssink

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"cistern/bridge/drain"
	"cistern/bridge/nats"
	"cistern/segstore/batch"
)

// reserveBytes is what the server's own headers may add to a record's.
const reserveBytes = 320

// group publishes parcels of one lane: record by record, or in atomic batches.
// The last record of an atomic batch is marked as such, so one is always held
// back until it is known what follows it.
type group struct {
	*chain
	atomic bool
	max    int64 // bytes that a message may have, headers included
	id     string

	held    *batch.Record // nil: none
	range_  [2]int64      // first and last offset of its batch
	header  []byte        // what it says of itself
	spare   []byte
	scratch []byte

	own     flow // of the lane: all that is acknowledged
	begun   int  // atomic batches
	written int  // records of the one under way
	bytes   int
	first   chan error // what the server said of its first record

	full   int // parcels that are written to their end, held record included
	stored int // of these, acknowledged
}

// errUnknownPosition: something has failed, and the lane has not looked since.
var errUnknownPosition = errors.New("where the subject ends is not known since the last failure")

// publish publishes parcels of one lane. done of them are stored, the last with
// the stream sequence seq (0: that can't be told); the one behind them has met
// err. The caller has the token.
func (ch *chain) publish(parcels []*parcel, single bool) (done int, seq uint64, err error) {
	lane := parcels[0].lane
	own, known := ch.flows.find(lane.id)
	if !ch.loaded || !known || own.seq < lane.seen {
		return 0, 0, errUnknownPosition
	}
	g := &group{chain: ch, own: own, atomic: ch.way.grouped() && !single, max: ch.way.messageMax(), id: rand.Text()}
	for _, p := range parcels {
		if err = g.parcel(p); err != nil {
			break
		}
		g.full++
	}
	_, local := errors.AsType[*drain.Error](err)
	if err == nil || local {
		// What was written before a batch that can't be sent is stored, so that
		// the failure is exactly that batch's.
		if failure := g.flush(); failure != nil {
			err, local = failure, false
		} else {
			g.stored = g.full
		}
	}
	ch.loaded = err == nil || local
	lane.seen = g.own.seq
	if g.stored > 0 && g.own.next == parcels[g.stored-1].header.NextOffset() {
		seq = g.own.seq
	}
	return g.stored, seq, err
}

// messageMax is how large a message may be.
func (w *way) messageMax() int64 {
	limit := w.conn.Info().MaxPayload
	if stream := w.current(); stream.Config.MaxMsgSize > 0 {
		limit = min(limit, int64(stream.Config.MaxMsgSize))
	}
	return limit
}

// parcel publishes the records of a batch that are not upstream yet.
func (g *group) parcel(p *parcel) error {
	if _, err := batch.Verify(p.bytes); err != nil {
		return &drain.Error{Verdict: drain.Corrupt, Reason: "CHECKSUM", Err: err}
	}
	first, last := p.header.BaseOffset, p.header.LastOffset()
	for r, err := range batch.Records(p.bytes, DecodedBytesMax) {
		if err != nil {
			return &drain.Error{Verdict: drain.Refused, Reason: "UNDECODABLE", Err: err}
		}
		if r.Offset < g.own.next {
			continue
		}
		if err := g.add(&r, first, last); err != nil {
			return err
		}
	}
	return nil
}

// add takes the next record, and writes the one before it.
func (g *group) add(r *batch.Record, first, last int64) error {
	g.spare = appendRecord(g.spare[:0], g.own.id, r, first, last)
	g.spare = g.flows.appendOthers(g.spare, g.own.id)
	size := len(g.spare) + len(r.Value) + reserveBytes
	if int64(size) > g.max {
		return &drain.Error{Verdict: drain.Refused, Reason: "MESSAGE_TOO_LARGE",
			Err: fmt.Errorf("the record at offset %d has %d bytes with its headers, upstream takes %d", r.Offset, size, g.max)}
	}
	if g.held != nil {
		end := !g.atomic || g.written+1 >= g.recordsMax() || g.bytes+size > GroupBytesMax
		if err := g.write(end); err != nil {
			return err
		}
	}
	own := *r
	g.held, g.range_ = &own, [2]int64{first, last}
	g.header, g.spare = g.spare, g.header
	return nil
}

// flush writes what is held as the last of its batch.
func (g *group) flush() error {
	if g.held == nil {
		return nil
	}
	return g.write(true)
}

func (ch *chain) recordsMax() int {
	if ch.records == 0 {
		return GroupRecordsMax
	}
	return ch.records
}

// write sends the held record; the last of a batch waits for the answer.
func (g *group) write(end bool) error {
	r := g.held
	g.held = nil
	begin := g.written == 0
	h := nats.BeginHeader(g.scratch[:0])
	if begin {
		h = nats.AppendField(h, hdrExpectedStream, g.way.sink.cfg.Stream)
		h = nats.AppendField(h, hdrExpectedLast, strconv.FormatUint(g.last, 10))
		g.begun++
		g.first = nil
	}
	g.written++
	g.bytes += len(g.header) + len(r.Value)
	if !begin || !end {
		h = nats.AppendField(h, hdrBatchID, g.id+"-"+strconv.Itoa(g.begun))
		h = nats.AppendNumber(h, hdrBatchSequence, int64(g.written))
		if end {
			h = nats.AppendField(h, hdrBatchCommit, "1")
		}
	}
	h = append(h, g.header...)
	h = nats.EndHeader(h)
	g.scratch = h
	if end {
		return g.commit(r, h)
	}
	reply := ""
	if begin {
		var err error
		if reply, err = g.watchFirst(); err != nil {
			return err
		}
	}
	return g.way.conn.Publish(g.subject, reply, h, r.Value)
}

// watchFirst has the server tell what it thinks of a batch's first record: the
// answer to the last only says that the batch is incomplete.
func (g *group) watchFirst() (reply string, err error) {
	said := make(chan error, 1)
	g.first = said
	reply, _, err = g.way.conn.Expect(g.subject, func(m nats.Msg, err error) {
		if err == nil && len(m.Data) > 0 {
			_, err = parseAck(m.Data)
		}
		said <- err
	})
	return reply, err
}

// commit sends the last record of a batch and waits until it is stored.
func (g *group) commit(r *batch.Record, header []byte) error {
	m, err := g.way.exchange(g.subject, header, r.Value)
	if err != nil {
		return err
	}
	ack, err := parseAck(m.Data)
	if err == nil && g.written > 1 && ack.Count != g.written {
		g.way.ungroup()
		err = fmt.Errorf("the server has not taken an atomic batch as one (%d of %d): going on record by record", ack.Count, g.written)
	}
	if err != nil {
		return g.refused(err)
	}
	if ack.Stream != g.way.sink.cfg.Stream || ack.Seq <= g.last {
		return fmt.Errorf("%w: acknowledged sequence %d of stream %q behind %d of %q", nats.ErrProtocol, ack.Seq, ack.Stream, g.last, g.way.sink.cfg.Stream)
	}
	g.way.sink.link.Answered()
	g.last = ack.Seq
	g.own = flow{id: g.own.id, next: r.Offset + 1, resume: r.Offset + 1, seq: ack.Seq}
	if r.Offset != g.range_[1] {
		g.own.resume = g.range_[0]
	}
	g.flows = g.flows.with(g.own)
	g.written, g.bytes = 0, 0
	g.stored = g.full
	return nil
}

// refused finds what an error is about, and learns from it.
func (g *group) refused(err error) error {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return err
	}
	switch e.ErrCode {
	case errCodeIncomplete:
		select {
		case first := <-g.first:
			if first != nil {
				return first
			}
		default:
		}
	case errCodeNoAtomic:
		g.way.ungroup()
	case errCodeBatchTooLarge:
		g.records = max(1, g.written/2)
	}
	return err
}

// exchange publishes and waits for the answer, without a context: the connection
// ends when the sink does. One that does not answer is given up, so that a late
// answer can't be taken for another's.
func (w *way) exchange(subject string, header, payload []byte) (nats.Msg, error) {
	type outcome struct {
		m   nats.Msg
		err error
	}
	answered := make(chan outcome, 1)
	reply, forget, err := w.conn.Expect(subject, func(m nats.Msg, err error) { answered <- outcome{m, err} })
	if err != nil {
		return nats.Msg{}, err
	}
	defer forget()
	if err := w.conn.Publish(subject, reply, header, payload); err != nil {
		return nats.Msg{}, err
	}
	if err := w.conn.Flush(); err != nil {
		return nats.Msg{}, err
	}
	timer := time.NewTimer(w.sink.timing.answer)
	defer timer.Stop()
	select {
	case o := <-answered:
		return o.m, o.err
	case <-timer.C:
		w.conn.Close()
		return nats.Msg{}, fmt.Errorf("no answer to what was published to %s within %s", subject, w.sink.timing.answer)
	}
}

// ack is what JetStream answers to a message that it has stored.
type ack struct {
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	Count  int       `json:"count"`
	Error  *apiError `json:"error"`
}

func parseAck(b []byte) (a ack, err error) {
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("%w: an acknowledgement that is no JSON: %w", nats.ErrProtocol, err)
	}
	if a.Error != nil {
		return a, a.Error
	}
	return a, nil
}
