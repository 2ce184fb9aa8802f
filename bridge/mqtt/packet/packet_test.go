package packet

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// decode decodes one whole packet as a server or a client would, and returns
// it encoded again.
func decode(v Version, b []byte) ([]byte, error) {
	h, body, err := NewReader(bytes.NewReader(b), RemainingLengthMax, nil).Next()
	if err != nil {
		return nil, err
	}
	switch h.Type {
	case TypeConnect:
		var p Connect
		if err := p.Decode(body); err != nil {
			return nil, err
		}
		return p.AppendTo(nil), nil
	case TypeConnack:
		var p Connack
		err := p.Decode(v, body)
		return p.AppendTo(nil, v), err
	case TypePublish:
		var p Publish
		if err := p.Decode(v, h.Flags, body); err != nil {
			return nil, err
		}
		return p.AppendTo(nil, v), nil
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		var p Ack
		err := p.Decode(v, body)
		return AppendAck(nil, v, h.Type, p.PacketID, p.Reason), err
	case TypeSubscribe:
		var p Subscribe
		err := p.Decode(v, body)
		return p.AppendTo(nil, v), err
	case TypeUnsubscribe:
		var p Unsubscribe
		err := p.Decode(v, body)
		return p.AppendTo(nil, v), err
	case TypeSuback, TypeUnsuback:
		var p Suback
		err := p.Decode(v, body)
		return p.AppendTo(nil, v, h.Type), err
	case TypeDisconnect:
		var p Disconnect
		err := p.Decode(v, body)
		return p.AppendTo(nil, v, h.Type), err
	case TypeAuth:
		var p Disconnect
		err := p.DecodeAuth(v, body)
		return p.AppendTo(nil, v, h.Type), err
	}
	if len(body) > 0 {
		return nil, malformed("a ping with a body")
	}
	return append([]byte{byte(h.Type) << 4}, 0), nil
}

// packetBytes puts a fixed header before a body.
func packetBytes(first byte, body string) []byte {
	return append(appendVarint([]byte{first}, uint32(len(body))), body...)
}

func TestRefused(t *testing.T) {
	const con311 = "\x00\x04MQTT\x04\x02\x00\x0a"
	const con5 = "\x00\x04MQTT\x05\x02\x00\x0a"
	for _, tc := range []struct {
		name string
		v    Version
		b    []byte
		want Reason
	}{
		{"packet type 0", V5, []byte{0x00, 0}, MalformedPacket},
		{"reserved flags of PINGREQ", V311, []byte{0xC1, 0}, MalformedPacket},
		{"SUBSCRIBE with flags 0", V311, packetBytes(0x80, "\x00\x01\x00\x01a\x00"), MalformedPacket},
		{"PUBREL with flags 0", V5, packetBytes(0x60, "\x00\x01"), MalformedPacket},
		{"PUBLISH QoS 3", V5, packetBytes(0x36, "\x00\x01a\x00\x01\x00"), MalformedPacket},
		{"PUBLISH DUP with QoS 0", V311, packetBytes(0x38, "\x00\x01a"), MalformedPacket},
		{"remaining length of five bytes", V5, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, MalformedPacket},
		{"remaining length longer than needed", V5, []byte{0x30, 0x83, 0x00, 0, 1, 'a'}, MalformedPacket},

		{"CONNECT cut short", V5, packetBytes(0x10, "\x00\x04MQ"), MalformedPacket},
		{"CONNECT of another protocol", V5, packetBytes(0x10, "\x00\x04HTTP\x04\x02\x00\x00\x00\x00"), ProtocolError},
		{"CONNECT of MQTT 3.1", V311, packetBytes(0x10, "\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00"), UnsupportedProtocolVersion},
		{"CONNECT of MQTT 6", V5, packetBytes(0x10, "\x00\x04MQTT\x06\x02\x00\x00\x00\x00"), UnsupportedProtocolVersion},
		{"CONNECT reserved flag", V311, packetBytes(0x10, "\x00\x04MQTT\x04\x03\x00\x00\x00\x01a"), MalformedPacket},
		{"CONNECT will QoS 3", V311, packetBytes(0x10, "\x00\x04MQTT\x04\x1e\x00\x00\x00\x01a\x00\x01t\x00\x00"), MalformedPacket},
		{"CONNECT will QoS without will", V311, packetBytes(0x10, "\x00\x04MQTT\x04\x0a\x00\x00\x00\x01a"), MalformedPacket},
		{"CONNECT will topic with wildcard", V311, packetBytes(0x10, "\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00"), TopicNameInvalid},
		{"CONNECT 3.1.1 password without user", V311, packetBytes(0x10, "\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x01p"), MalformedPacket},
		{"CONNECT bytes left over", V311, packetBytes(0x10, con311+"\x00\x01ab"), MalformedPacket},
		{"CONNECT client id not UTF-8", V311, packetBytes(0x10, con311+"\x00\x02\xc3\x28"), MalformedPacket},
		{"CONNECT client id with U+0000", V311, packetBytes(0x10, con311+"\x00\x02a\x00"), MalformedPacket},
		{"CONNECT client id with a surrogate", V311, packetBytes(0x10, con311+"\x00\x03\xed\xa0\x80"), MalformedPacket},
		{"CONNECT Receive Maximum 0", V5, packetBytes(0x10, con5+"\x03\x21\x00\x00\x00\x01a"), ProtocolError},
		{"CONNECT Receive Maximum twice", V5, packetBytes(0x10, con5+"\x06\x21\x00\x01\x21\x00\x01\x00\x01a"), ProtocolError},
		{"CONNECT packet size 0", V5, packetBytes(0x10, con5+"\x05\x27\x00\x00\x00\x00\x00\x01a"), ProtocolError},
		{"CONNECT request problem 2", V5, packetBytes(0x10, con5+"\x02\x17\x02\x00\x01a"), ProtocolError},
		{"CONNECT auth data without method", V5, packetBytes(0x10, con5+"\x04\x16\x00\x01x\x00\x01a"), ProtocolError},
		{"CONNECT with a PUBLISH property", V5, packetBytes(0x10, con5+"\x03\x23\x00\x01\x00\x01a"), MalformedPacket},
		{"CONNECT with an unknown property", V5, packetBytes(0x10, con5+"\x02\x7f\x00\x00\x01a"), MalformedPacket},
		{"CONNECT properties longer than the packet", V5, packetBytes(0x10, con5+"\x7f\x21\x00\x01"), MalformedPacket},

		{"PUBLISH + in topic", V311, packetBytes(0x30, "\x00\x03a/+x"), TopicNameInvalid},
		{"PUBLISH # in topic", V5, packetBytes(0x30, "\x00\x03a/#\x00x"), TopicNameInvalid},
		{"PUBLISH empty topic in 3.1.1", V311, packetBytes(0x30, "\x00\x00x"), MalformedPacket},
		{"PUBLISH without topic or alias", V5, packetBytes(0x30, "\x00\x00\x00x"), ProtocolError},
		{"PUBLISH topic alias 0", V5, packetBytes(0x30, "\x00\x00\x03\x23\x00\x00x"), TopicAliasInvalid},
		{"PUBLISH packet id 0", V311, packetBytes(0x32, "\x00\x01a\x00\x00x"), ProtocolError},
		{"PUBLISH packet id missing", V311, packetBytes(0x32, "\x00\x01a"), MalformedPacket},
		{"PUBLISH topic not UTF-8", V311, packetBytes(0x30, "\x00\x01\xff"), MalformedPacket},
		{"PUBLISH topic longer than the packet", V311, packetBytes(0x30, "\x00\x09abc"), MalformedPacket},
		{"PUBLISH payload format 2", V5, packetBytes(0x30, "\x00\x01a\x02\x01\x02x"), ProtocolError},
		{"PUBLISH response topic with wildcard", V5, packetBytes(0x30, "\x00\x01a\x04\x08\x00\x01#x"), ProtocolError},
		{"PUBLISH user property cut short", V5, packetBytes(0x30, "\x00\x01a\x04\x26\x00\x01k"), MalformedPacket},
		{"PUBLISH property varint longer than needed", V5, packetBytes(0x30, "\x00\x01a\x80\x00"), MalformedPacket},

		{"PUBACK packet id 0", V311, packetBytes(0x40, "\x00\x00"), ProtocolError},
		{"PUBACK with a reason in 3.1.1", V311, packetBytes(0x40, "\x00\x01\x00"), MalformedPacket},
		{"PUBREL cut short", V5, packetBytes(0x62, "\x00"), MalformedPacket},
		{"PUBREL bytes left over", V5, packetBytes(0x62, "\x00\x01\x00\x00x"), MalformedPacket},

		{"SUBSCRIBE without filters", V311, packetBytes(0x82, "\x00\x01"), ProtocolError},
		{"SUBSCRIBE cut short before the options", V5, packetBytes(0x82, "\x00\x01\x00\x00\x01a"), MalformedPacket},
		{"SUBSCRIBE packet id 0", V5, packetBytes(0x82, "\x00\x00\x00\x00\x01a\x00"), ProtocolError},
		{"SUBSCRIBE empty filter", V311, packetBytes(0x82, "\x00\x01\x00\x00\x00"), ProtocolError},
		{"SUBSCRIBE QoS 3", V311, packetBytes(0x82, "\x00\x01\x00\x01a\x03"), MalformedPacket},
		{"SUBSCRIBE options of 5.0 in 3.1.1", V311, packetBytes(0x82, "\x00\x01\x00\x01a\x04"), MalformedPacket},
		{"SUBSCRIBE reserved options", V5, packetBytes(0x82, "\x00\x01\x00\x00\x01a\x40"), MalformedPacket},
		{"SUBSCRIBE retain handling 3", V5, packetBytes(0x82, "\x00\x01\x00\x00\x01a\x30"), ProtocolError},
		{"SUBSCRIBE No Local on a shared one", V5, packetBytes(0x82, "\x00\x01\x00\x00\x0a$share/g/a\x04"), ProtocolError},
		{"SUBSCRIBE subscription id 0", V5, packetBytes(0x82, "\x00\x01\x02\x0b\x00\x00\x01a\x00"), ProtocolError},
		{"UNSUBSCRIBE without filters", V5, packetBytes(0xA2, "\x00\x01\x00"), ProtocolError},
		{"UNSUBSCRIBE cut short", V311, packetBytes(0xA2, "\x00\x01\x00\x02a"), MalformedPacket},
		{"DISCONNECT with a body in 3.1.1", V311, packetBytes(0xE0, "\x00"), MalformedPacket},
		{"AUTH in 3.1.1", V311, []byte{0xF0, 0}, ProtocolError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := decode(tc.v, tc.b)
			var refused *Error
			if !errors.As(err, &refused) || refused.Reason != tc.want {
				t.Errorf("% x: got %v, want %s", tc.b, err, tc.want)
			}
		})
	}
}

// samples are packets that must survive decoding and encoding unchanged.
func samples() map[string]struct {
	v Version
	b []byte
} {
	var connect Connect
	connect.Version, connect.CleanStart, connect.KeepAlive = V5, true, 60
	connect.ClientID = []byte("pump-7")
	connect.Properties.SetNumber(ReceiveMaximum, 20)
	connect.Properties.SetNumber(SessionExpiryInterval, 3600)
	connect.Properties.AddUser("k", "v")
	connect.HasUserName, connect.UserName = true, []byte("u")
	connect.HasPassword, connect.Password = true, []byte{0, 255}
	connect.HasWill = true
	connect.Will = Will{QoS: 1, Retain: true, Topic: []byte("gone"), Payload: []byte("x")}
	connect.Will.Properties.SetNumber(WillDelayInterval, 5)

	publish := Publish{QoS: 2, Dup: true, Retain: true, PacketID: 65535, Topic: []byte("a/b"), Payload: []byte("payload")}
	publish.Properties.SetNumber(PayloadFormatIndicator, 1)
	publish.Properties.SetNumber(MessageExpiryInterval, 1<<31)
	publish.Properties.SetField(ContentType, []byte("application/json"))
	publish.Properties.SetField(CorrelationData, []byte{1, 2, 0})
	publish.Properties.AddUser("a", "1")
	publish.Properties.AddUser("a", "2")

	subscribe := Subscribe{PacketID: 9}
	subscribe.Add("plant/#", 1)
	subscribe.Add("+/x", 2)
	unsubscribe := Unsubscribe{PacketID: 10}
	unsubscribe.Add("plant/#")

	var connack Connack
	connack.Properties.SetField(AssignedClientID, []byte("auto-1"))
	connack.Properties.SetNumber(SharedAvailable, 0)
	connack.Properties.SetNumber(MaximumPacketSize, 262144)
	suback := Suback{PacketID: 9, Reasons: []byte{0, 1, 0x80}}
	disconnect := Disconnect{Reason: QuotaExceeded}

	type sample = struct {
		v Version
		b []byte
	}
	return map[string]sample{
		"CONNECT 5":       {V5, connect.AppendTo(nil)},
		"CONNECT 3.1.1":   {V311, (&Connect{Version: V311, ClientID: []byte("x")}).AppendTo(nil)},
		"CONNACK 5":       {V5, connack.AppendTo(nil, V5)},
		"CONNACK 3.1.1":   {V311, (&Connack{SessionPresent: true}).AppendTo(nil, V311)},
		"PUBLISH 5":       {V5, publish.AppendTo(nil, V5)},
		"PUBLISH 3.1.1":   {V311, (&Publish{Topic: []byte("t")}).AppendTo(nil, V311)},
		"PUBACK":          {V311, AppendAck(nil, V311, TypePuback, 1, Success)},
		"PUBREC reason":   {V5, AppendAck(nil, V5, TypePubrec, 2, QuotaExceeded)},
		"PUBREL":          {V5, AppendAck(nil, V5, TypePubrel, 3, Success)},
		"SUBSCRIBE 5":     {V5, subscribe.AppendTo(nil, V5)},
		"SUBSCRIBE 3.1.1": {V311, subscribe.AppendTo(nil, V311)},
		"UNSUBSCRIBE":     {V311, unsubscribe.AppendTo(nil, V311)},
		"SUBACK":          {V5, suback.AppendTo(nil, V5, TypeSuback)},
		"UNSUBACK 3.1.1":  {V311, (&Suback{PacketID: 1}).AppendTo(nil, V311, TypeUnsuback)},
		"DISCONNECT":      {V5, disconnect.AppendTo(nil, V5, TypeDisconnect)},
		"PINGREQ":         {V5, AppendPingreq(nil)},
		"PINGRESP":        {V5, AppendPingresp(nil)},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			got, err := decode(s.v, s.b)
			if err != nil || !bytes.Equal(got, s.b) {
				t.Errorf("got  % x, %v\nwant % x", got, err, s.b)
			}
		})
	}
}

// Every prefix of a packet's body, with the length corrected, is an error or a
// shorter packet, never a panic; every prefix of the stream is incomplete.
func TestCutShort(t *testing.T) {
	for name, s := range samples() {
		for n := 1; n < len(s.b); n++ {
			if _, err := decode(s.v, s.b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes were taken for a packet", name, n, len(s.b))
			}
			if n >= 2 && s.b[1] < 0x80 {
				decode(s.v, packetBytes(s.b[0], string(s.b[2:n])))
			}
		}
	}
}

func TestPropertiesAreRead(t *testing.T) {
	var p Publish
	b := samples()["PUBLISH 5"].b
	h, body, err := NewReader(bytes.NewReader(b), len(b), nil).Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Decode(V5, h.Flags, body); err != nil {
		t.Fatal(err)
	}
	var users []string
	for k, v := range p.Properties.Users() {
		users = append(users, string(k)+"="+string(v))
	}
	if got := strings.Join(users, " "); got != "a=1 a=2" {
		t.Errorf("user properties: %q", got)
	}
	if got := p.Properties.Number(MessageExpiryInterval, 0); got != 1<<31 {
		t.Errorf("message expiry: %d", got)
	}
	if got := p.Properties.Field(ContentType); string(got) != "application/json" {
		t.Errorf("content type: %q", got)
	}
	if p.Properties.Has(ResponseTopic) || p.Properties.Field(ResponseTopic) != nil {
		t.Error("a response topic that was never set")
	}
}

func TestTooManyUserProperties(t *testing.T) {
	p := Publish{Topic: []byte("a")}
	for range UserPropertiesMax + 1 {
		p.Properties.AddUser("k", "v")
	}
	_, err := decode(V5, p.AppendTo(nil, V5))
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != ImplementationSpecificError {
		t.Errorf("got %v", err)
	}
}

func TestReaderLimitsBeforeAllocating(t *testing.T) {
	announced := []byte{0x30, 0xff, 0xff, 0xff, 0x7f} // 256 MiB
	r := NewReader(bytes.NewReader(announced), 256<<10, nil)
	_, _, err := r.Next()
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != PacketTooLarge {
		t.Errorf("got %v", err)
	}
	r = NewReader(bytes.NewReader(announced), RemainingLengthMax+5, nil)
	if _, _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
	if len(r.buf) > bufferMin {
		t.Errorf("%d bytes of buffer for 5 bytes that came", len(r.buf))
	}
}

type budget struct{ left int }

func (b *budget) Reserve(n int) bool {
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}
func (b *budget) Release(n int) { b.left += n }

func TestReaderBudget(t *testing.T) {
	b := &budget{left: 64 << 10}
	large := (&Publish{Topic: []byte("a"), Payload: make([]byte, 128<<10)}).AppendTo(nil, V311)
	r := NewReader(bytes.NewReader(large), 1<<20, b)
	if _, _, err := r.Next(); err != ErrNoMemory {
		t.Errorf("got %v", err)
	}
	r.Close()
	if b.left != 64<<10 {
		t.Errorf("%d bytes are left of the budget after Close", b.left)
	}
}

// The reader sees the same packets however the stream is cut.
func TestReaderChunks(t *testing.T) {
	var stream []byte
	for i := range 300 {
		stream = (&Publish{QoS: 1, PacketID: uint16(i + 1), Topic: []byte("a"), Payload: make([]byte, i*7)}).AppendTo(stream, V311)
	}
	for name, src := range map[string]io.Reader{
		"whole":       bytes.NewReader(stream),
		"byte":        iotest.OneByteReader(bytes.NewReader(stream)),
		"half":        iotest.HalfReader(bytes.NewReader(stream)),
		"interrupted": iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(stream))),
	} {
		r := NewReader(src, 1<<20, nil)
		for i := 0; i < 300; i++ {
			h, body, err := r.Next()
			if errors.Is(err, iotest.ErrTimeout) {
				i--
				continue
			}
			if err != nil {
				t.Fatalf("%s: packet %d: %v", name, i, err)
			}
			var p Publish
			if err := p.Decode(V311, h.Flags, body); err != nil || int(p.PacketID) != i+1 || len(p.Payload) != i*7 {
				t.Fatalf("%s: packet %d: id %d, %d bytes, %v", name, i, p.PacketID, len(p.Payload), err)
			}
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
		r.Shrink()
		if r.buf != nil {
			t.Errorf("%s: the buffer is still there", name)
		}
	}
}

type loop struct {
	b []byte
	n int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.n:])
	l.n = (l.n + n) % len(l.b)
	return n, nil
}

func TestPublishDecodesWithoutAllocating(t *testing.T) {
	r := NewReader(&loop{b: samples()["PUBLISH 5"].b}, 1<<20, nil)
	var p Publish
	seen := 0
	n := testing.AllocsPerRun(2000, func() {
		h, body, err := r.Next()
		if err != nil || p.Decode(V5, h.Flags, body) != nil {
			t.Fatal(err)
		}
		for range p.Properties.Users() {
			seen++
		}
	})
	if n != 0 || seen == 0 {
		t.Errorf("%v allocations per PUBLISH, %d user properties seen", n, seen)
	}
}
