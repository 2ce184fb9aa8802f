package batch

import (
	"bytes"
	"strconv"
)

// Gateways boot without a clock. Until theirs can be believed, each record says
// in a header how long after which boot it was taken, and its batch is marked by
// a bit (see Header.ClockUnset). Who learns later when that boot was sets the
// batch's times right.

// HeaderClock is the key of that header. Its value is
// "unset <boot> <ms since that boot>".
const HeaderClock = "cistern.clock"

const (
	clockUnsetWord = "unset "
	bootNameMax    = 64 // bytes of a boot's name
)

// AppendClockMark appends the value of HeaderClock: boot names the boot of a
// machine, without spaces, and monotonic is the time since then in ms.
func AppendClockMark(dst []byte, boot string, monotonic int64) []byte {
	dst = append(dst, clockUnsetWord...)
	dst = append(dst, boot...)
	dst = append(dst, ' ')
	return strconv.AppendInt(dst, monotonic, 10)
}

// ParseClockMark reads what AppendClockMark wrote. boot shares value's memory.
func ParseClockMark(value []byte) (boot []byte, monotonic int64, ok bool) {
	rest, ok := bytes.CutPrefix(value, []byte(clockUnsetWord))
	if !ok {
		return nil, 0, false
	}
	boot, number, ok := bytes.Cut(rest, []byte{' '})
	if !ok || len(boot) == 0 || len(boot) > bootNameMax {
		return nil, 0, false
	}
	// Not strconv: it would copy, and this runs for every record of such a time.
	monotonic, ok = decimal(number)
	return boot, monotonic, ok
}

// monotonicMax is more ms than any machine was ever up, and leaves room to add a
// wall clock.
const monotonicMax = 1 << 50

func decimal(digits []byte) (v int64, ok bool) {
	if len(digits) == 0 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' || v > monotonicMax {
			return 0, false
		}
		v = 10*v + int64(c-'0')
	}
	return v, v <= monotonicMax
}

// ClockMark returns the value of r's HeaderClock when it is the last header,
// where a gateway puts it; else nil.
func (r *Record) ClockMark() []byte {
	if n := len(r.Headers); n > 0 && r.Headers[n-1].Key == HeaderClock {
		return r.Headers[n-1].Value
	}
	return nil
}
