package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// SiteAdmin is what an operator can order of a site, at any of its gateways. It
// must allow concurrent calls. An error that comes of the context leaves open
// whether the order was carried out.
type SiteAdmin interface {
	// DrainNode moves the leaderships of that gateway away, or allows them again.
	DrainNode(ctx context.Context, name string, on bool) error
	// RemoveMember forgets a gateway for good; its copies are given to others.
	RemoveMember(ctx context.Context, name string) error
	// Elect makes another gateway the leader of a partition.
	Elect(ctx context.Context, o ElectOrder) (ElectAnswer, error)
	// ApplyStreams makes this gateway's file the site's truth about streams, and
	// returns the names of those that changed.
	ApplyStreams(ctx context.Context) ([]string, error)
}

// ElectOrder asks for a leader. Without Unclean it must be in sync. With Try
// nothing happens: the answer is what would be, and GivenUp is empty when there
// is no need for Unclean.
type ElectOrder struct {
	Stream    string `json:"stream"`
	Partition int32  `json:"partition"`
	To        string `json:"to,omitempty"` // "": whoever has most
	Unclean   bool   `json:"unclean"`
	Try       bool   `json:"try"`
}

// ElectAnswer says who leads, and in words which offsets that gives up: "" is
// none.
type ElectAnswer struct {
	Leader  string `json:"leader"`
	GivenUp string `json:"given_up"`
}

// ErrAlone is the answer to orders for a site where there is none.
var ErrAlone = errors.New("this gateway is on its own: its configuration has no [site] with a key_file")

const (
	orderBytesMax = 4 << 10
	// orderTimeout leaves room for an election of the controller, whom the order
	// has to reach.
	orderTimeout = 30 * time.Second
)

// memberOrder names a gateway.
type memberOrder struct {
	Name string `json:"name"`
	On   bool   `json:"on,omitempty"`
}

// applied is the answer of /site/apply.
type applied struct {
	Streams []string `json:"streams"`
}

// orders serves what changes the site. They are for the socket, whose owner could
// change the gateway's files as well, and for who holds the site's key.
func (s *Server) orders(mux *http.ServeMux) {
	s.siteOrders(mux)
	s.drainOrders(mux)
	s.machineOrders(mux)
}

func (s *Server) siteOrders(mux *http.ServeMux) {
	member := func() error {
		if s.Site == nil {
			return ErrAlone
		}
		return nil
	}
	order(mux, "/site/drain-node", member, func(ctx context.Context, o *memberOrder) (any, error) {
		return struct{}{}, s.Site.DrainNode(ctx, o.Name, o.On)
	})
	order(mux, "/site/remove", member, func(ctx context.Context, o *memberOrder) (any, error) {
		return struct{}{}, s.Site.RemoveMember(ctx, o.Name)
	})
	order(mux, "/site/elect", member, func(ctx context.Context, o *ElectOrder) (any, error) {
		return s.Site.Elect(ctx, *o)
	})
	order(mux, "/site/apply", member, func(ctx context.Context, _ *struct{}) (any, error) {
		streams, err := s.Site.ApplyStreams(ctx)
		return applied{append([]string{}, streams...)}, err
	})
}

// order serves one of them: JSON in, JSON or a problem out. What can't be ordered
// of this gateway at all is what ready says.
func order[T any](mux *http.ServeMux, path string, ready func() error, do func(context.Context, *T) (any, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(orderTimeout + writeTimeout))
		o := new(T)
		if err := readOrder(w, r, o); err != nil {
			answer(w, http.StatusBadRequest, problem{fmt.Sprintf("bad order: %v", err)})
			return
		}
		if err := ready(); err != nil {
			answer(w, http.StatusConflict, problem{err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), orderTimeout)
		defer cancel()
		done, err := do(ctx, o)
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, problem{err.Error()})
			return
		}
		answer(w, http.StatusOK, done)
	})
}

// readOrder takes an order that comes in time, whole and small. A field that it
// does not know is something a newer command line wants and this agent can't do.
func readOrder(w http.ResponseWriter, r *http.Request, o any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTimeout))
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, orderBytesMax))
	body.DisallowUnknownFields()
	err := body.Decode(o)
	// No deadline from here on: the server reads on to learn that the client
	// hung up, and a read that ran out would end the order as well.
	_ = control.SetReadDeadline(time.Time{})
	return err
}

// DrainNode moves the leaderships of a gateway away, or allows them again.
func (c *Client) DrainNode(ctx context.Context, name string, on bool) error {
	return c.order(ctx, "/site/drain-node", memberOrder{name, on}, &struct{}{})
}

// RemoveMember makes the site forget a gateway.
func (c *Client) RemoveMember(ctx context.Context, name string) error {
	return c.order(ctx, "/site/remove", memberOrder{Name: name}, &struct{}{})
}

// Elect makes another gateway lead a partition, or tells what that would mean.
func (c *Client) Elect(ctx context.Context, o ElectOrder) (ElectAnswer, error) {
	var a ElectAnswer
	err := c.order(ctx, "/site/elect", o, &a)
	return a, err
}

// ApplyStreams makes the agent's file the site's truth about streams, and
// returns which of them changed.
func (c *Client) ApplyStreams(ctx context.Context) ([]string, error) {
	var a applied
	err := c.order(ctx, "/site/apply", struct{}{}, &a)
	return a.Streams, err
}

func (c *Client) order(ctx context.Context, path string, what, done any) error {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout+writeTimeout)
	defer cancel()
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	out, err := c.ask(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := json.NewDecoder(io.LimitReader(out, answerBytesMax)).Decode(done); err != nil {
		return fmt.Errorf("answer from %s: %w", c.where, err)
	}
	return nil
}
