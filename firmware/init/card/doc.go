// Package card knows the card from the init's side: which disk it is, what of
// its boot partition becomes the configuration, and how its data partition is
// checked, grown and mounted.
//
// The data partition holds what was confirmed to devices and is nowhere else.
// So it is never formatted here, and never repaired beyond what e2fsck does by
// itself without leaving anything out (-p). When that is not enough the agent
// does not start, and [Verdict] says what a person has to do.
package card
