// Package users keeps the names and passwords of MQTT clients in a file.
//
// The file has a line per user, in the format of mosquitto_passwd, so that a
// file from a Mosquitto broker can be used as it is and the other way round:
//
//	name:$7$iterations$base64(salt)$base64(PBKDF2-HMAC-SHA512(password, salt))
//
// It is readable by its owner only, who stays the same when root edits it. It is
// replaced as a whole (a power cut leaves the old one or the new one), and read
// again when it has changed: a user that was added can connect at once.
//
// A password is slow to check by design, so that a stolen file is of little use.
// A gateway must not pay for that at every reconnect of every device: Verifier
// remembers, in memory only, what it has checked, and checks one password at a
// time, so that strangers who guess can't take more than one core from the
// journal.
package users
