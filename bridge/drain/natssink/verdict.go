package natssink

import (
	"errors"
	"fmt"

	"cistern/bridge/drain"
	"cistern/bridge/nats"
)

// Error codes of JetStream, from the server's errors.json.
const (
	errCodeMessageTooLarge = 10054
	errCodeWrongStream     = 10060
	errCodeWrongLast       = 10071
	errCodeSealed          = 10109
	errCodeWrongLastBusy   = 10164 // the same, without a number: another publish is under way
	errCodeNoAtomic        = 10174
	errCodeIncomplete      = 10176
	errCodeBatchTooLarge   = 10199
)

// classify gives errors of the server their verdict. A wrong last sequence is
// no more than "look again": somebody was faster.
func classify(err error) error {
	if _, given := errors.AsType[*drain.Error](err); given || err == nil {
		return err
	}
	switch {
	case errors.Is(err, nats.ErrPermission):
		return &drain.Error{Verdict: drain.Denied, Reason: "PERMISSION", Err: fmt.Errorf("the server does not permit what the drain needs, publish and subscribe to _INBOX.>: %w", err)}
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no JetStream stream takes it at the moment: %w", err)
	}
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return err
	}
	switch e.ErrCode {
	case errCodeMessageTooLarge:
		return &drain.Error{Verdict: drain.Refused, Reason: "MESSAGE_TOO_LARGE", Err: err}
	case errCodeWrongStream, errCodeSealed:
		return &drain.Error{Verdict: drain.Denied, Err: err}
	case errCodeWrongLast, errCodeWrongLastBusy:
		return fmt.Errorf("another publisher was faster, or an answer was lost; looking at the subject again: %w", err)
	}
	return err
}
