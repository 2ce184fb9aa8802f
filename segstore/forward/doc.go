// Package forward answers: how does a finished batch reach its partition's
// leader, once and in order, or stay safe here meanwhile?
package forward
