// Package site runs sites of several gateways against what a site meets: the
// built program, each gateway in a network namespace of its own, plugged into
// one switch, with faults between them.
//
//	┌─ gateway-1 ─┐  ┌─ gateway-2 ─┐  ┌─ gateway-3 ─┐   a namespace each
//	└──────┬──────┘  └──────┬──────┘  └──────┬──────┘
//	───────┴────────────────┴────────┬───────┴──────── switch: cuts, loss
//	                             ┌───┴───┐
//	devices, uplink to centre ─▶ │ world │
//	                             └───────┘
//
// The faults are those that make no noise (frames that vanish, both ways or one;
// a share of them; a cable out; SIGSTOP) and those that do (kill -9). What a test
// does to a site has to be shown to have happened: frames dropped, leaders
// elected.
//
// Every test ends the same way. All is healed and has to come in sync within a
// bound; the gateways are stopped; then Journals reads what lies on each one's
// flash, past the API under test, and holds it against the others and against
// what devices were told (see Findings), and the ledger judges what lies at the
// centre.
//
// kill -9 is not a power cut: what a process wrote without syncing survives it in
// the kernel's cache. What a power cut does to a journal is tested where one can
// be made at every operation: segstore, and cross/sim for a whole site.
//
// The tests of sites carry the build tag "e2e" and need root and nft (Debian
// package nftables). Without, they skip with the reason; .ci/run counts that as
// a failure. CISTERN_SITE_LONG=1 makes them as long as an evening allows.
package site
