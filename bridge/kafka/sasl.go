package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/xdg-go/scram"
)

// SASL mechanisms that are spoken.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

var mechanisms = []string{Plain, ScramSHA256, ScramSHA512}

// scramStepsMax bounds the conversation: SCRAM needs two messages.
const scramStepsMax = 4

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

func (s *SASL) scram(ctx context.Context, c *Conn) error {
	hash := scram.SHA256
	if s.Mechanism == ScramSHA512 {
		hash = scram.SHA512
	}
	client, err := hash.NewClient(s.User, s.Password, "")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	conversation := client.NewConversation()
	challenge := ""
	for range scramStepsMax {
		message, err := conversation.Step(challenge)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrAuth, err)
		}
		if conversation.Done() {
			return nil
		}
		answer, err := s.exchange(ctx, c, []byte(message))
		if err != nil {
			return err
		}
		challenge = string(answer)
	}
	return fmt.Errorf("%w: %s does not come to an end", ErrAuth, s.Mechanism)
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
