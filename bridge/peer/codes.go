package peer

import (
	"errors"
	"fmt"

	"cistern/segstore/replica"

	"github.com/twmb/franz-go/pkg/kerr"
)

// codes is how replication's errors travel, both ways. A timeout is the one
// way in which a leader itself says that a fate is unknown.
var codes = []struct {
	err  error
	code *kerr.Error
}{
	{replica.ErrNotLeader, kerr.NotLeaderForPartition},
	{replica.ErrNoLeader, kerr.LeaderNotAvailable},
	{replica.ErrFencedLeaderEpoch, kerr.FencedLeaderEpoch},
	{replica.ErrUnknownLeaderEpoch, kerr.UnknownLeaderEpoch},
	{replica.ErrStaleIncarnation, kerr.StaleBrokerEpoch},
	{replica.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{replica.ErrNotEnoughReplicas, kerr.NotEnoughReplicas},
	{replica.ErrUnknownProducer, kerr.UnknownProducerID},
	{replica.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{replica.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
	{replica.ErrCorrupt, kerr.CorruptMessage},
	{replica.ErrTooLarge, kerr.MessageTooLarge},
	{replica.ErrFull, kerr.PolicyViolation},
	{replica.ErrJournal, kerr.KafkaStorageError},
	{replica.ErrUnreachable, kerr.RequestTimedOut},
}

// codeOf returns the code for err, UNKNOWN_SERVER_ERROR for one that is not in
// the table.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code.Code
		}
	}
	return kerr.UnknownServerError.Code
}

// errorOf turns the code of an answer back into an error, with the leader's own
// words when it sent some. An unknown code says nothing about what became of a
// batch, so it counts as no answer.
func errorOf(code int16, gateway string, text *string) error {
	if code == 0 {
		return nil
	}
	for _, c := range codes {
		if c.code.Code == code {
			return refused(gateway, c.err, text)
		}
	}
	return refused(gateway, fmt.Errorf("%w: %w", replica.ErrUnreachable, kerr.ErrorForCode(code)), text)
}

// refusal is what another gateway answered.
type refusal struct {
	gateway string
	text    string // its own words
	cause   error
}

func refused(gateway string, cause error, text *string) error {
	r := &refusal{gateway: gateway, cause: cause, text: cause.Error()}
	if text != nil && *text != "" {
		r.text = *text
	}
	return r
}

func (r *refusal) Error() string { return fmt.Sprintf("gateway %s: %s", r.gateway, r.text) }

func (r *refusal) Unwrap() error { return r.cause }

// textOf returns the words to send for err, cut to what the wire should carry.
func textOf(err error) *string {
	text := err.Error()
	text = text[:min(len(text), errorTextMax)]
	return &text
}
