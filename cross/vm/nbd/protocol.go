package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Numbers of the NBD protocol (github.com/NetworkBlockDevice/nbd, proto.md), as
// far as we speak it: fixed newstyle negotiation, simple replies.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicAnswer  = 0x0003e889045565a9
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	flagFixedNewstyle = 1 << 0 // of the handshake
	flagNoZeroes      = 1 << 1
	flagHasFlags      = 1 << 0 // of the transmission
	flagSendFlush     = 1 << 2
	flagSendFUA       = 1 << 3
	transmission      = flagHasFlags | flagSendFlush | flagSendFUA

	optionExportName = 1
	optionAbort      = 2
	optionInfo       = 6
	optionGo         = 7

	answerAck         = 1
	answerInfo        = 3
	answerUnsupported = 1<<31 + 1

	infoExport    = 0
	infoBlockSize = 3

	commandRead  = 0
	commandWrite = 1
	commandLeave = 2
	commandFlush = 3
	commandFUA   = 1 << 0 // a flag of commands

	errorIO      = 5
	errorInvalid = 22

	// optionBytesMax is far more than a client has to say before it starts.
	optionBytesMax = 8 << 10
	// requestBytesMax bounds one read or write, and is what we announce.
	requestBytesMax = 32 << 20
)

// ErrProtocol is found in the error of who was sent something that is not NBD.
var ErrProtocol = errors.New("this is not NBD, or more than we speak of it")

type option struct {
	number uint32
	data   []byte
}

func readOption(r io.Reader) (option, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return option{}, err
	}
	n := binary.BigEndian.Uint32(head[12:])
	switch {
	case binary.BigEndian.Uint64(head[:]) != magicOption:
		return option{}, fmt.Errorf("option % x: %w", head[:8], ErrProtocol)
	case n > optionBytesMax:
		return option{}, fmt.Errorf("option of %d bytes, at most %d are taken: %w", n, optionBytesMax, ErrProtocol)
	}
	o := option{binary.BigEndian.Uint32(head[8:]), make([]byte, n)}
	_, err := io.ReadFull(r, o.data)
	return o, err
}

func writeAnswer(w io.Writer, number, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicAnswer)
	b = binary.BigEndian.AppendUint32(b, number)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := w.Write(append(b, data...))
	return err
}

// request is a command. What it wants to write follows it on the wire.
type request struct {
	flags, command uint16
	cookie         uint64
	offset         uint64
	length         uint32
}

func readRequest(r io.Reader) (request, error) {
	var b [28]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return request{}, err
	}
	if binary.BigEndian.Uint32(b[:]) != magicRequest {
		return request{}, fmt.Errorf("request % x: %w", b[:4], ErrProtocol)
	}
	q := request{
		flags: binary.BigEndian.Uint16(b[4:]), command: binary.BigEndian.Uint16(b[6:]),
		cookie: binary.BigEndian.Uint64(b[8:]), offset: binary.BigEndian.Uint64(b[16:]),
		length: binary.BigEndian.Uint32(b[24:]),
	}
	moves := q.command == commandRead || q.command == commandWrite
	if moves && q.length > requestBytesMax {
		return request{}, fmt.Errorf("request for %d bytes, at most %d are moved: %w", q.length, requestBytesMax, ErrProtocol)
	}
	return q, nil
}

func writeReply(w io.Writer, q request, code uint32, data []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 16+len(data)), magicReply)
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint64(b, q.cookie)
	_, err := w.Write(append(b, data...))
	return err
}
