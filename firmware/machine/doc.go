// Package machine is what the agent and the first process of a Cistern image
// (firmware/init) say to each other.
//
// A gateway that runs from an image has no shell and no package manager: the
// init mounts, gets an address, sets the clock, writes updates and reboots. The
// agent, which has no rights to do any of this, asks for it over a unix socket
// that [Env] names: HTTP/1.1 and JSON, [Client] on the agent's side. A gateway
// that was installed from a package has no such socket; [New] then says
// [ErrNoMachine].
//
// [Config] is the [machine] table of gateway.toml, the one small file that
// differs between the gateways of a site. Both sides read it through [Read], so
// that `cistern config check` on a laptop finds what the machine would refuse.
package machine
