// Package secret answers one question: to whom does a file with secrets belong
// that root has just made?
//
// The service of a package runs as a user of its own, and its secrets have to be
// readable by that user and nobody else. Who adds a user or makes a site key on
// such a machine is root: without this the service could not read what was made for
// it, and the next start would fail.
package secret
