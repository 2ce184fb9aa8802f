// Init is the first process of a Cistern image: the whole system besides the
// kernel, the agent and e2fsck.
//
// The root file system is the initramfs, in memory. From the card it takes the
// operator's files (p1, read without mounting it) and the data partition (p4);
// it runs one program, the agent, without any rights, and does for it what needs
// them: network, clock, hardware watchdog, updates, reboot (see
// cistern/firmware/machine, which also is the way in: there is no shell).
//
// A boot, each step a line on the console:
//
//  1. mount proc, sys, dev, run; start the hardware watchdog
//  2. find the card; copy the operator's files to memory; network and time begin
//  3. check the data partition, grow it to the card's end, mount it
//  4. set the clock to what was noted last; note what became of an update
//  5. the machine's socket
//  6. the agent, for good
//
// If 2 or 3 fails, the agent is not started: it would confirm what is not kept.
// A slot on trial is then given up, at once if 3 failed. The other one is left
// standing, with the network up and the reason on the console, when only a person
// can help; without a card it tries again after some minutes.
//
// What decides something is in packages that touch nothing: trial, keep, lan,
// clock, card, notify. This one does what they say.
package main
