package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// SASL mechanisms that are spoken.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

var mechanisms = []string{Plain, ScramSHA256, ScramSHA512}

// Limits of SCRAM: two messages are needed.
const (
	scramStepsMax      = 4
	scramIterationsMax = 1 << 18
)

// SASL says who we are.
type SASL struct {
	Mechanism string // one of Plain, ScramSHA256, ScramSHA512
	User      string
	Password  string
}

// Validate reports the first thing about s that can't be.
func (s *SASL) Validate() error {
	switch {
	case !slices.Contains(mechanisms, s.Mechanism):
		return fmt.Errorf("SASL mechanism is %q, allowed are %s", s.Mechanism, strings.Join(mechanisms, ", "))
	case s.User == "":
		return errors.New("SASL needs a user")
	}
	return nil
}

// authenticate runs the SASL exchange on a connection that carries nothing else
// yet. Passwords never appear in errors.
func (s *SASL) authenticate(ctx context.Context, c *Conn) error {
	if err := s.handshake(ctx, c); err != nil {
		return err
	}
	if s.Mechanism == Plain {
		_, err := s.exchange(ctx, c, []byte("\x00"+s.User+"\x00"+s.Password))
		return err
	}
	return s.scram(ctx, c)
}

func (s *SASL) handshake(ctx context.Context, c *Conn) error {
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = s.Mechanism
	resp, err := do[*kmsg.SASLHandshakeResponse](ctx, c, req)
	if err != nil {
		return err
	}
	if resp.ErrorCode != 0 {
		return fmt.Errorf("%w: the broker offers %s, we want %s", ErrAuth,
			strings.Join(resp.SupportedMechanisms, ", "), s.Mechanism)
	}
	return nil
}

// scram answers the broker's challenges (RFC 5802). Like Kafka itself it takes
// user and password as they are, without SASLprep.
func (s *SASL) scram(ctx context.Context, c *Conn) error {
	mechanism := scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()
	if s.Mechanism == ScramSHA512 {
		mechanism = scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()
	}
	session, message, err := mechanism.Authenticate(ctx, c.addr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	for range scramStepsMax {
		challenge, err := s.exchange(ctx, c, message)
		if err != nil {
			return err
		}
		if err := checkIterations(challenge); err != nil {
			return err
		}
		done, next, err := session.Challenge(challenge)
		if err != nil {
			return fmt.Errorf("%w: user %q by %s: %w", ErrAuth, s.User, s.Mechanism, err)
		}
		if done {
			return nil
		}
		message = next
	}
	return fmt.Errorf("%w: %s does not come to an end", ErrAuth, s.Mechanism)
}

// checkIterations refuses work that would keep a small processor busy for
// minutes: Kafka allows a sixteenth of the limit.
func checkIterations(challenge []byte) error {
	for field := range bytes.SplitSeq(challenge, []byte(",")) {
		text, ok := bytes.CutPrefix(field, []byte("i="))
		if n, err := strconv.Atoi(string(text)); ok && err == nil && n > scramIterationsMax {
			return fmt.Errorf("%w: the broker wants %d iterations of SCRAM, at most %d are made", ErrAuth, n, scramIterationsMax)
		}
	}
	return nil
}

func (s *SASL) exchange(ctx context.Context, c *Conn, message []byte) ([]byte, error) {
	req := kmsg.NewPtrSASLAuthenticateRequest()
	req.SASLAuthBytes = message
	resp, err := do[*kmsg.SASLAuthenticateResponse](ctx, c, req)
	if errors.Is(err, io.ErrUnexpectedEOF) { // some say it this way
		return nil, fmt.Errorf("%w: user %q by %s: %w", ErrAuth, s.User, s.Mechanism, err)
	}
	if err != nil {
		return nil, err
	}
	if err := codeError(resp.ErrorCode, "user %q by %s", s.User, s.Mechanism); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return resp.SASLAuthBytes, nil
}
