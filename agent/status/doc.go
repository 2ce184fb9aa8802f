// Package status is how a running gateway tells about itself: what is well, what
// is not, where each stream stands.
//
// One Document answers everything: `cistern status`, its --json, /status, and
// the numbers of /metrics come from the same values, so they can't disagree.
// One registry of warnings (Warnings) gives log, command line and metrics the
// same words; each has a code to search for, a severity, and advice.
//
// Server offers this over HTTP on a unix socket that only the owner of the data
// may open, and, if asked, on a TCP address:
//
//	/status   the Document as JSON
//	/health   200 while nothing is in error, else 503; the active warnings as JSON
//	/metrics  Prometheus text
//	/tail     committed records as they come, one JSON object per line
//	/debug/pprof/{heap,goroutine,allocs,profile?seconds=30,trace?seconds=5}, for go tool pprof
//
// and on the socket alone, or by the site port (Server.Remote) for who has shown
// the site's key there:
//
//	/site/...  orders to the site (SiteAdmin), by POST
//	/drain/... orders to the drain (DrainAdmin), by POST
//	/batches   stored batches of a partition, as they are
//	/import    records of another gateway, by POST (Carrier)
//	/machine   what an image runs on (MachineAdmin); by POST:
//	/update    an update file for it, and /reboot
//
// Records and profiles are for those two and for loopback addresses: anybody on
// a network may learn that a gateway is unwell, nobody what its devices said.
package status
