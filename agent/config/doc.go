// Package config reads what an operator decided about one gateway.
//
// A configuration is one TOML file. Whatever it leaves out has a default, and
// no file at all is a working gateway: MQTT on the loopback address, data in
// ./cistern-data, no uplink. sample.toml, printed by `cistern config`, says
// every key with its meaning and its default; a test holds that it tells the
// truth.
//
// Reading is strict. An unknown key, a wrong type or a value out of range is an
// error that names file, line, column and key, says what is allowed, and looks
// for the key that was probably meant. All errors of a file are reported at
// once, since an operator on a ladder should not have to find them one by one.
//
// Secrets never stand in the file: they are in files of their own that nobody
// but their owner may read, and that is checked.
package config
