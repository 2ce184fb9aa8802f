package main

import (
	"errors"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"cistern/agent/config"
	"cistern/agent/status"
	"cistern/gossip/port"
	"cistern/gossip/sitekey"
)

// remote is how a command finds a gateway from another machine: by its site port,
// with the key of its site.
type remote struct{ gateway, keyFile string }

// operatorName is what the certificate of a command says. No order depends on it.
const operatorName = "operator"

// agentFlags are for commands that talk to the running agent.
func (p *place) agentFlags(c *cobra.Command) {
	p.flags(c)
	c.Flags().StringVar(&p.socket, "socket", "", "ask the agent behind this `SOCKET`")
	c.Flags().StringVar(&p.remote.gateway, "gateway", "", "ask the gateway with this site port: `HOST[:PORT]`")
	c.Flags().StringVar(&p.remote.keyFile, "key-file", "", "the site's key in this `FILE`, for --gateway")
}

// agent returns a client for the running agent.
func (p *place) agent() (*status.Client, error) {
	if p.remote.gateway != "" {
		return p.far()
	}
	if p.remote.keyFile != "" {
		return nil, usage("say which gateway with --gateway HOST[:PORT]", "--key-file is for --gateway")
	}
	socket, err := p.findSocket()
	if err != nil {
		return nil, err
	}
	return status.NewClient(socket), nil
}

// ask returns the running agent's status.
func (p *place) ask(c *cobra.Command) (*status.Document, error) {
	agent, err := p.agent()
	if err != nil {
		return nil, err
	}
	return agent.Status(c.Context())
}

// far returns a client for a gateway elsewhere.
func (p *place) far() (*status.Client, error) {
	if p.socket != "" || p.data != "" {
		return nil, usage("leave out --gateway for an agent on this machine", "--gateway asks another machine, --socket and --data this one")
	}
	address, err := siteAddress(p.remote.gateway)
	if err != nil {
		return nil, err
	}
	d, err := p.dialer()
	if err != nil {
		return nil, err
	}
	return status.NewRemoteClient(address, d.Dial), nil
}

// dialer holds the site's key: that of --key-file, else of the configuration.
func (p *place) dialer() (*port.Dialer, error) {
	file := p.remote.keyFile
	if file == "" && p.config != "" {
		c, err := p.load()
		if err != nil {
			return nil, err
		}
		file = c.Site.KeyFile
	}
	if file == "" {
		return nil, usage("name the file with --key-file: every gateway of the site has a copy", "a gateway's site port wants the site's key")
	}
	key, err := sitekey.Load(file)
	if err != nil {
		return nil, usage("", "%w", err)
	}
	return port.NewDialer(key, operatorName)
}

// siteAddress completes what stands behind --gateway.
func siteAddress(s string) (string, error) {
	host, number, err := net.SplitHostPort(s)
	var wrong *net.AddrError
	if errors.As(err, &wrong) && (wrong.Err == "missing port in address" || wrong.Err == "too many colons in address") {
		host, number, err = strings.Trim(s, "[]"), config.SitePort, nil // without a port, or a bare IPv6 address
	}
	if err != nil || host == "" || number == "" || strings.ContainsAny(s, "/ ") {
		return "", usage("it looks like 10.0.0.11, 10.0.0.11:"+config.SitePort+" or [fd00::11]:"+config.SitePort, "--gateway %q is no address of a gateway", s)
	}
	return net.JoinHostPort(host, number), nil
}
