package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// subackFailure is the return code of a refused filter.
const subackFailure = 0x80

// serve subscribes, again and again to what was refused (an operator may mend
// the broker's access list), until the connection ends.
func (c *connection) serve() error {
	wanted := c.config.Topics
	for {
		granted, err := c.subscribe(wanted)
		if err != nil {
			return err
		}
		if wanted = c.note(wanted, granted); len(wanted) == 0 {
			<-c.ctx.Done()
			return context.Cause(c.ctx)
		}
		if !sleep(c.ctx, c.timing.resubscribe) {
			return context.Cause(c.ctx)
		}
	}
}

func (c *connection) subscribe(filters []string) (map[string]byte, error) {
	request := make(map[string]byte, len(filters))
	for _, f := range filters {
		request[f] = c.config.QoS
	}
	c.guard.Load().expectSuback(len(request))
	// No handler of its own: a message that matches two filters would be
	// handled twice. The default handler sees all.
	token := c.client.SubscribeMultiple(request, nil).(*mqtt.SubscribeToken)
	timer := time.NewTimer(c.timing.subscribe)
	defer timer.Stop()
	select {
	case <-token.Done():
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	case <-timer.C:
		return nil, errors.New("subscribe: the broker did not answer")
	}
	switch err := token.Error(); {
	case c.ctx.Err() != nil:
		return nil, context.Cause(c.ctx) // says more than the token
	case err != nil:
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return token.Result(), nil
}

// note puts the broker's answers into the status and returns what it refused.
func (c *connection) note(asked []string, granted map[string]byte) (refused []string) {
	var subscriptions []Subscription
	for _, f := range asked {
		s := Subscription{Filter: f, Granted: true, QoS: granted[f]}
		switch {
		case s.QoS == subackFailure:
			s = Subscription{Filter: f, Error: "the broker refused the subscription (return code 0x80): check its access list"}
			refused = append(refused, f)
		case s.QoS < c.config.QoS:
			s.Error = fmt.Sprintf("the broker granted QoS %d, asked was %d: what it delivers is not protected as configured", s.QoS, c.config.QoS)
		}
		if s.Error != "" {
			c.log.Error("subscription", "filter", f, "error", s.Error)
			c.state.setError(fmt.Errorf("mqtt source %s: topic %q: %s", c.config.URL, f, s.Error))
		}
		subscriptions = append(subscriptions, s)
	}
	c.state.set(func(st *Status) { st.Subscriptions = merge(st.Subscriptions, subscriptions) })
	return refused
}

// merge returns old with the answers in latest, which are to the same filters
// or to new ones.
func merge(old, latest []Subscription) []Subscription {
	for _, l := range latest {
		at := -1
		for i := range old {
			if old[i].Filter == l.Filter {
				at = i
			}
		}
		if at < 0 {
			old = append(old, l)
		} else {
			old[at] = l
		}
	}
	return old
}
