package kafkasink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/bridge/drain"
	"cistern/bridge/kafka"
)

// Mode is what keeps records from arriving twice.
type Mode uint8

const (
	ModeAuto        Mode = iota // what the brokers can do: sequence, else at least once
	ModeSequence                // the broker's idempotence check
	ModeTransaction             // the position is committed together with the records
	ModeAtLeastOnce             // nothing: each record says which it is, readers drop what they have seen
)

var modeNames = [...]string{"auto", "sequence", "transaction", "at_least_once"}

// String returns the mode's name in a configuration.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return "unknown"
}

// ParseMode returns the mode of that name; empty: ModeAuto.
func ParseMode(name string) (Mode, error) {
	if i := slices.Index(modeNames[:], name); i >= 0 {
		return Mode(i), nil
	}
	if name == "" {
		return ModeAuto, nil
	}
	return ModeAuto, fmt.Errorf("uplink mode %q: want one of %s", name, strings.Join(modeNames[:], ", "))
}

// produceZstd is the first version of Produce whose brokers read zstd, the
// default codec. Whoever has it and InitProducerID has all that came before.
const produceZstd = 7

// choose decides how a cluster is drained to, and says why.
func (s *Sink) choose(ctx context.Context) (Mode, string, error) {
	if s.cfg.Mode != ModeAuto {
		return s.cfg.Mode, "set in the configuration", nil
	}
	versions, err := s.client.Versions(ctx)
	if err != nil {
		return ModeAuto, "", err
	}
	mode, why := judge(versions)
	return mode, why, nil
}

func judge(versions map[kmsg.Key]int16) (Mode, string) {
	var lacks []string
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Fetch} {
		if _, ok := versions[key]; !ok {
			lacks = append(lacks, key.Name())
		}
	}
	if v := versions[kmsg.Produce]; v < produceZstd {
		lacks = append(lacks, fmt.Sprintf("Produce %d (they have %d)", produceZstd, v))
	}
	if len(lacks) > 0 {
		return ModeAtLeastOnce, fmt.Sprintf("the brokers lack %s, which exactly once needs: records may arrive twice, each with the same cistern.id", strings.Join(lacks, ", "))
	}
	return ModeSequence, "the brokers have producer ids, and so admit each record once"
}

// How a cursor was moved last is told by its producer id and epoch. In sequence
// mode they are the ones that records carry. In transaction mode the id is only
// a number that no other incarnation has, and the epoch epochTransactions: the
// broker counts epochs itself there. At least once there is no id.
const (
	noEpoch           int16 = -1
	epochTransactions int16 = -2
)

// modeOf returns how a cursor was moved last; ModeAuto: not by one that leaves
// anything upstream that could be looked up.
func modeOf(c *drain.Cursor) Mode {
	switch {
	case c.Producer < 0:
		return ModeAuto
	case c.Epoch == epochTransactions:
		return ModeTransaction
	}
	return ModeSequence
}

// inherit takes over a cursor that another mode has moved. What is in doubt is
// looked up in that mode's own way, and the cursor then has no identity.
func (l place) inherit(ctx context.Context, c *drain.Cursor, mode Mode) error {
	was := modeOf(c)
	if was == ModeAuto || was == mode {
		return nil
	}
	if sameTopic(c.Target, l.to) {
		var err error
		if was == ModeTransaction {
			_, err = l.takeOver(ctx, c)
		} else {
			err = l.look(ctx, c)
		}
		if err != nil && mode != ModeAtLeastOnce && c.InDoubt {
			return fmt.Errorf("what mode %q left in doubt has to be found before mode %q begins: %w", was, mode, err)
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			l.s.cfg.Logger.Warn("the last mode's records upstream can't be looked up", "target", l.to.String(), "was", was.String(), "error", err)
		}
	}
	l.s.cfg.Logger.Info("the uplink's mode has changed", "target", l.to.String(), "from", was.String(), "to", mode.String(), "position", c.Position)
	c.Producer, c.Epoch = -1, noEpoch
	return nil
}

// unidentified prepares a cursor for at least once: there is nothing to look up,
// and nothing that a later mode could take for its own.
func (l place) unidentified(c *drain.Cursor) {
	if c.Producer < 0 && sameTopic(c.Target, l.to) {
		return
	}
	c.Incarnate(l.s.cfg.Now(), l.to, -1, noEpoch, 0)
}

// advise adds to a refusal what to set or to grant, where that is known.
func advise(err error, mode Mode) error {
	is := func(codes ...*kerr.Error) bool {
		return slices.ContainsFunc(codes, func(e *kerr.Error) bool { return errors.Is(err, e) })
	}
	const set = `set mode = %q in [uplink.kafka]`
	hint := ""
	switch {
	case err == nil:
		return nil
	case is(kerr.UnsupportedCompressionType):
		hint = "this cluster does not read the codec of the stream: set another compression for it"
	case is(kerr.TransactionalIDAuthorizationFailed, kerr.GroupAuthorizationFailed):
		hint = fmt.Sprintf(`allow WRITE on transactional ids and READ on groups that begin with %q, or `+set, txnPrefix, ModeSequence)
	case is(kerr.InvalidTransactionTimeout):
		hint = fmt.Sprintf("allow transactions of %v (transaction.max.timeout.ms), or "+set, TxnTimeout, ModeSequence)
	case mode == ModeTransaction && (errors.Is(err, kafka.ErrTooOld) || is(kerr.UnsupportedVersion)):
		hint = fmt.Sprintf("these brokers have no transactions as they are needed: "+set, ModeAuto)
	case mode != ModeAtLeastOnce && is(kerr.ClusterAuthorizationFailed):
		hint = fmt.Sprintf("allow WRITE on the topic and IDEMPOTENT_WRITE on the cluster, or "+set, ModeAtLeastOnce)
	case mode != ModeAtLeastOnce && (errors.Is(err, kafka.ErrTooOld) || is(kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat, kerr.InvalidRequest)):
		hint = fmt.Sprintf("if these brokers take no producer ids, "+set, ModeAtLeastOnce)
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}
