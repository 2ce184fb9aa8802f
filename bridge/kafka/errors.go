package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// What can go wrong before a broker has answered. Refusals by a broker are
// *kerr.Error values and are found with errors.As.
var (
	// ErrTooOld: the broker does not speak a version that is needed.
	ErrTooOld = errors.New("the broker does not speak what is needed, Kafka 2.8 or newer does")
	// ErrVersions: the two sides have no version of a request in common.
	ErrVersions = errors.New("no common version")
	// ErrAuth: the broker does not accept our credentials, or we not its.
	ErrAuth = errors.New("authentication failed")

	// ErrClosed: the connection was closed on our side.
	ErrClosed = errors.New("connection closed")
	// ErrTimeout: the broker did not answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrProtocol: the broker sent something that makes no sense.
	ErrProtocol = errors.New("protocol error")

	// ErrNoBroker: no known address gave an answer.
	ErrNoBroker = errors.New("no broker can be reached")
	// ErrUnknownBroker: the cluster's metadata does not name this broker.
	ErrUnknownBroker = errors.New("unknown broker")
)

// codeError turns an error code of an answer into an error that says what was
// asked, nil for 0. The code stays reachable through errors.Is with kerr's
// values.
func codeError(code int16, format string, args ...any) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), kerr.ErrorForCode(code))
}

// Code returns the name of the Kafka error inside err, "" when there is none.
func Code(err error) string {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		return ke.Message
	}
	return ""
}
