package packet

import "fmt"

// Reason is an MQTT 5 reason code. Codes from 0x80 mean failure.
type Reason byte

// The reason codes of MQTT 5, section 2.4.
const (
	Success                     Reason = 0x00 // also: normal disconnection, granted QoS 0
	GrantedQoS1                 Reason = 0x01
	GrantedQoS2                 Reason = 0x02
	DisconnectWithWill          Reason = 0x04
	NoMatchingSubscribers       Reason = 0x10
	NoSubscriptionExisted       Reason = 0x11
	ContinueAuthentication      Reason = 0x18
	ReAuthenticate              Reason = 0x19
	UnspecifiedError            Reason = 0x80
	MalformedPacket             Reason = 0x81
	ProtocolError               Reason = 0x82
	ImplementationSpecificError Reason = 0x83
	UnsupportedProtocolVersion  Reason = 0x84
	ClientIdentifierNotValid    Reason = 0x85
	BadUserNameOrPassword       Reason = 0x86
	NotAuthorized               Reason = 0x87
	ServerUnavailable           Reason = 0x88
	ServerBusy                  Reason = 0x89
	Banned                      Reason = 0x8A
	ServerShuttingDown          Reason = 0x8B
	BadAuthenticationMethod     Reason = 0x8C
	KeepAliveTimeout            Reason = 0x8D
	SessionTakenOver            Reason = 0x8E
	TopicFilterInvalid          Reason = 0x8F
	TopicNameInvalid            Reason = 0x90
	PacketIdentifierInUse       Reason = 0x91
	PacketIdentifierNotFound    Reason = 0x92
	ReceiveMaximumExceeded      Reason = 0x93
	TopicAliasInvalid           Reason = 0x94
	PacketTooLarge              Reason = 0x95
	MessageRateTooHigh          Reason = 0x96
	QuotaExceeded               Reason = 0x97
	AdministrativeAction        Reason = 0x98
	PayloadFormatInvalid        Reason = 0x99
	RetainNotSupported          Reason = 0x9A
	QoSNotSupported             Reason = 0x9B
	UseAnotherServer            Reason = 0x9C
	ServerMoved                 Reason = 0x9D
	SharedNotSupported          Reason = 0x9E
	ConnectionRateExceeded      Reason = 0x9F
	MaximumConnectTime          Reason = 0xA0
	SubscriptionIDsNotSupported Reason = 0xA1
	WildcardsNotSupported       Reason = 0xA2
)

// Failed reports whether r says that something was refused.
func (r Reason) Failed() bool { return r >= 0x80 }

// String returns the name the specification gives the code.
func (r Reason) String() string {
	if i := int(r) - 0x80; i >= 0 && i < len(failureNames) {
		return failureNames[i]
	}
	switch r {
	case Success:
		return "success"
	case NoMatchingSubscribers:
		return "no matching subscribers"
	case NoSubscriptionExisted:
		return "no subscription existed"
	}
	return fmt.Sprintf("reason 0x%02X", byte(r))
}

var failureNames = [...]string{
	"unspecified error", "malformed packet", "protocol error", "implementation specific error",
	"unsupported protocol version", "client identifier not valid", "bad user name or password", "not authorized",
	"server unavailable", "server busy", "banned", "server shutting down",
	"bad authentication method", "keep alive timeout", "session taken over", "topic filter invalid",
	"topic name invalid", "packet identifier in use", "packet identifier not found", "receive maximum exceeded",
	"topic alias invalid", "packet too large", "message rate too high", "quota exceeded",
	"administrative action", "payload format invalid", "retain not supported", "QoS not supported",
	"use another server", "server moved", "shared subscriptions not supported", "connection rate exceeded",
	"maximum connect time", "subscription identifiers not supported", "wildcard subscriptions not supported",
}

// Error says what is wrong with a packet and which reason code tells it to an
// MQTT 5 client. (An MQTT 3.1.1 client is simply disconnected.)
type Error struct {
	Reason Reason
	What   string
}

// Error implements error.
func (e *Error) Error() string { return "mqtt: " + e.Reason.String() + ": " + e.What }

func malformed(what string) error { return &Error{MalformedPacket, what} }
func protocol(what string) error  { return &Error{ProtocolError, what} }
