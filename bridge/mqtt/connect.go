package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"cistern/bridge/mqtt/packet"
)

// clientIDMax bounds client ids. 3.1.1 asks servers to take 23 bytes at least.
const clientIDMax = 256

// connect reads CONNECT and answers it. When it returns nil, c is the one
// connection of its client id.
func (c *conn) connect() error {
	c.clock.handshakeEnd = time.Now().Add(c.s.limits.ConnectTime)
	p, err := c.readConnect()
	if err != nil {
		c.refuse(err)
		return err
	}
	ctx, cancel := context.WithDeadline(c.ctx, c.clock.handshakeEnd)
	defer cancel()
	assigned, err := c.identify(ctx, p)
	if err != nil {
		c.refuse(err)
		return err
	}
	if err := c.s.claim(ctx, c); err != nil {
		c.refuse(&packet.Error{Reason: packet.ServerBusy, What: err.Error()})
		return err
	}
	c.connected(p, assigned)
	return nil
}

func (c *conn) readConnect() (*packet.Connect, error) {
	h, body, err := c.in.Next()
	if err != nil {
		return nil, err
	}
	if h.Type != packet.TypeConnect {
		return nil, &packet.Error{Reason: packet.ProtocolError, What: "the first packet is " + h.Type.String() + ", not CONNECT"}
	}
	p := new(packet.Connect)
	err = p.Decode(body)
	c.version = p.Version
	return p, err
}

// identify checks who the client is and gives it an id when it has none.
func (c *conn) identify(ctx context.Context, p *packet.Connect) (assigned bool, err error) {
	if p.Properties.Has(packet.AuthenticationMethod) {
		return false, &packet.Error{Reason: packet.BadAuthenticationMethod, What: "enhanced authentication is not spoken here"}
	}
	switch {
	case len(p.ClientID) > clientIDMax:
		return false, &packet.Error{Reason: packet.ClientIdentifierNotValid, What: "the client id is too long"}
	case len(p.ClientID) == 0 && p.Version == packet.V311 && !p.CleanStart:
		return false, &packet.Error{Reason: packet.ClientIdentifierNotValid, What: "an empty client id needs a clean session"}
	}
	if err := c.authenticate(ctx, p); err != nil {
		return false, err
	}
	c.client = string(p.ClientID)
	if c.client == "" {
		c.client = "auto-" + strings.ToLower(rand.Text())
		return true, nil
	}
	return false, nil
}

func (c *conn) authenticate(ctx context.Context, p *packet.Connect) error {
	auth := c.s.config.Auth
	if !p.HasUserName {
		if c.anonymous {
			return nil
		}
		return &packet.Error{Reason: packet.NotAuthorized, What: "a user name is needed"}
	}
	if auth == nil {
		return nil // nobody has to log in, so nobody is turned away
	}
	err := auth.Authenticate(ctx, string(p.UserName), p.Password)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrBadCredentials):
		return &packet.Error{Reason: packet.BadUserNameOrPassword, What: "user name or password is wrong"}
	}
	return &packet.Error{Reason: packet.ServerBusy, What: err.Error()}
}

// connected answers CONNECT with success and makes c ready for packets.
func (c *conn) connected(p *packet.Connect, assigned bool) {
	c.in.SetSizeMax(c.s.limits.PacketBytes)
	c.keepAlive = time.Duration(int64(p.KeepAlive) * int64(time.Second) * 3 / 2)
	c.clock.handshakeEnd = time.Time{}
	c.clock.packetSince = time.Time{}
	if p.HasWill {
		c.s.count.willsIgnored.Inc()
		c.s.calm.warn("mqtt: wills are not published by this version", "client", c.client)
	}
	c.s.count.connects.Inc()
	c.s.log.Debug("mqtt: client connected", "client", c.client, "remote", c.net.RemoteAddr().String(), "version", p.Version.String())

	var ack packet.Connack
	if c.version == packet.V5 {
		c.announce(p, &ack.Properties, assigned)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = false
	c.control(func(b []byte) []byte { return ack.AppendTo(b, c.version) })
	c.deliveryLimits(p)
	c.flush()
}

// announce says what an MQTT 5 client may expect. What is not mentioned is the
// default: QoS 2, wildcards and retain are available.
func (c *conn) announce(p *packet.Connect, props *packet.Properties, assigned bool) {
	limits := &c.s.limits
	props.SetNumber(packet.ReceiveMaximum, uint32(limits.ReceiveMaximum))
	props.SetNumber(packet.MaximumPacketSize, uint32(limits.PacketBytes))
	props.SetNumber(packet.TopicAliasMaximum, uint32(limits.TopicAliases))
	props.SetNumber(packet.SharedAvailable, 0)
	props.SetNumber(packet.SubscriptionIDAvailable, 0)
	if p.Properties.Number(packet.SessionExpiryInterval, 0) != 0 {
		props.SetNumber(packet.SessionExpiryInterval, 0)
	}
	if assigned {
		props.SetField(packet.AssignedClientID, []byte(c.client))
	}
}

// refuse answers a CONNECT that is not accepted. A client whose version is not
// known, or a 3.1.1 client that broke the protocol, is closed without a word.
func (c *conn) refuse(err error) {
	var wrong *packet.Error
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.As(err, &wrong) {
		c.endLocked(packet.Success, "")
		return
	}
	c.endLocked(wrong.Reason, wrong.What)
	broken := wrong.Reason == packet.MalformedPacket || wrong.Reason == packet.ProtocolError || wrong.Reason == packet.PacketTooLarge
	if c.version == 0 || c.version < packet.V5 && broken {
		return
	}
	ack := packet.Connack{Reason: wrong.Reason}
	b := c.output.open()
	b.b = ack.AppendTo(b.b, min(max(c.version, packet.V311), packet.V5))
	c.flushed()
	c.mu.Unlock()
	linger(c.net, lingerTime)
	c.mu.Lock()
}
