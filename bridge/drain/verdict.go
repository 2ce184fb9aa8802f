package drain

import "errors"

// Verdict says what a failure means for the batch that met it.
type Verdict uint8

const (
	Retry     Verdict = iota // nobody is to blame: later
	Misplaced                // upstream expects another sequence number
	Forgotten                // upstream does not know the producer any more
	Refused                  // upstream will never take this batch
	Corrupt                  // upstream says that the bytes are damaged
	Denied                   // an operator has to change something
)

var verdictNames = [...]string{"retry", "misplaced", "forgotten", "refused", "corrupt", "denied"}

// String returns the verdict's name.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// Error is a failure with its verdict.
type Error struct {
	Verdict Verdict
	Reason  string // short and stable, a Kafka error name: what is counted
	Err     error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// VerdictOf returns the verdict of err: Retry when none was given.
func VerdictOf(err error) Verdict {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Verdict
	}
	return Retry
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Reason != "" {
		return e.Reason
	}
	return VerdictOf(err).String()
}
