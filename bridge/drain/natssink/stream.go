package natssink

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cistern/bridge/drain"
	"cistern/bridge/nats"
)

// way is one connection, with what was learned over it.
type way struct {
	sink *Sink
	conn *nats.Conn

	mu     sync.Mutex
	stream *streamInfo // nil: not asked yet
	denied error       // why the stream can't be used
	plain  bool        // atomic batches were refused all the same
	chains map[string]*chain
}

// streamInfo is what $JS.API.STREAM.INFO tells, as far as we care.
type streamInfo struct {
	Created string `json:"created"`
	Config  struct {
		Subjects   []string        `json:"subjects"`
		Retention  string          `json:"retention"`
		MaxMsgSize int32           `json:"max_msg_size"` // -1, 0: none
		NoAck      bool            `json:"no_ack"`
		Sealed     bool            `json:"sealed"`
		Mirror     json.RawMessage `json:"mirror"`
		Transform  json.RawMessage `json:"subject_transform"`
		Atomic     bool            `json:"allow_atomic"`
	} `json:"config"`
	State struct {
		LastSeq uint64 `json:"last_seq"`
	} `json:"state"`
}

func (i *streamInfo) atomic() bool { return i != nil && i.Config.Atomic }

// id tells one incarnation of a stream from another of the same name.
func (i *streamInfo) id() (id [16]byte) {
	sum := sha256.Sum256([]byte(i.Created))
	copy(id[:], sum[:])
	return id
}

// apiError is what JetStream says in place of an answer.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("JetStream says: %s (%d)", e.Description, e.ErrCode)
}

// call makes a request to JetStream. answer is filled from JSON.
func (w *way) call(ctx context.Context, api string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.sink.timing.answer)
	defer cancel()
	m, err := w.conn.Request(ctx, "$JS.API."+api+"."+w.sink.cfg.Stream, nil, body)
	if err != nil {
		return err
	}
	w.sink.link.Answered()
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("%w: the answer to %s is no JSON: %w", nats.ErrProtocol, api, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(m.Data, answer)
}

// ask learns what the stream is. An error means that there was no answer.
func (w *way) ask(ctx context.Context) error {
	info := &streamInfo{}
	err := w.call(ctx, "STREAM.INFO", struct{}{}, info)
	_, said := errors.AsType[*apiError](err)
	if err != nil && !said && !errors.Is(err, nats.ErrPermission) {
		if errors.Is(err, nats.ErrNoResponders) {
			return errors.New("the server has no JetStream for us, or not yet: enable it there, and for our account")
		}
		return err
	}
	if err == nil {
		err = info.check(w.sink.cfg.Stream)
	} else {
		err = w.sink.missing(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stream, w.denied = info, err
	return nil
}

// learned says that the stream was asked for, with success: that is what "up"
// means.
func (w *way) learned() {
	info, why := w.conn.Info(), "the stream takes atomic batches"
	if !w.current().atomic() {
		why = "the stream has no allow_atomic: each record costs a round trip"
	}
	w.sink.link.Up(w, func(u *drain.Uplink) {
		u.ClusterID = cmp.Or(info.Cluster, info.ServerName)
		u.Mode, u.ModeWhy = "expected_sequence", why
	}, "server", info.ServerName, "version", info.Version, "publishing", why)
}

func (w *way) known() bool { return w.current() != nil }

func (w *way) current() *streamInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream
}

// usable returns the stream, or why it can't take a subject.
func (w *way) usable(subject string) (*streamInfo, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.denied != nil {
		return nil, &drain.Error{Verdict: drain.Denied, Err: w.denied}
	}
	for _, filter := range w.stream.Config.Subjects {
		if matches(filter, subject) {
			return w.stream, nil
		}
	}
	all := strings.Join(append(w.stream.Config.Subjects, subject), ",")
	return nil, &drain.Error{Verdict: drain.Denied, Err: fmt.Errorf("the JetStream stream %s does not take %s: nats stream edit %s --subjects '%s'",
		w.sink.cfg.Stream, subject, w.sink.cfg.Stream, all)}
}

// grouped reports whether records may go in atomic batches.
func (w *way) grouped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stream.atomic() && !w.plain && !w.sink.single
}

func (w *way) ungroup() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plain = true
}

const errCodeStreamNotFound = 10059

// missing says what to do about a stream that can't be asked for.
func (s *Sink) missing(err error) error {
	if e, ok := errors.AsType[*apiError](err); !ok || e.ErrCode != errCodeStreamNotFound {
		return err
	}
	return fmt.Errorf("the JetStream stream %s does not exist: nats stream add %s --subjects '%s' --storage file --retention limits --discard new --allow-batch --defaults",
		s.cfg.Stream, s.cfg.Stream, strings.NewReplacer("{site}", strings.ReplaceAll(s.cfg.Site, ".", "%2E"), "{stream}", "*", "{partition}", "*").Replace(s.cfg.Subject))
}

// check says why a stream can't hold what is promised.
func (i *streamInfo) check(name string) error {
	set := func(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }
	switch {
	case i.Config.Retention != "limits":
		return fmt.Errorf("the JetStream stream %s has retention %q: the last message of a subject is our position, so it must stay when it is consumed; make a stream with --retention limits and let the other one source it", name, i.Config.Retention)
	case i.Config.NoAck:
		return fmt.Errorf("the JetStream stream %s acknowledges nothing: nats stream edit %s --ack", name, name)
	case i.Config.Sealed:
		return fmt.Errorf("the JetStream stream %s is sealed", name)
	case set(i.Config.Mirror):
		return fmt.Errorf("the JetStream stream %s is a mirror: name the stream that it mirrors", name)
	case set(i.Config.Transform):
		return fmt.Errorf("the JetStream stream %s transforms subjects: our position could not be found under its own", name)
	}
	return nil
}

// matches reports whether a filter takes a subject.
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s), token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}
