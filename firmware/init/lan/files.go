package lan

import (
	"bytes"
	"fmt"
)

// ResolvConf is /etc/resolv.conf for those settings.
func ResolvConf(s Settings) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by Cistern's init with every change of the network.\n")
	if s.Domain != "" {
		fmt.Fprintf(&b, "search %s\n", s.Domain)
	}
	for _, a := range s.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	return b.Bytes()
}

// Hosts is /etc/hosts for a machine of that name.
func Hosts(hostname string) []byte {
	return fmt.Appendf(nil, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n", hostname)
}
