// Package segstore keeps every partition's log on flash, in one journal per
// lane.
//
// A file per partition, each appended and synced, writes 23 bytes to the
// device for each byte of payload when twenty partitions take a small batch
// each; one journal that writes over old blocks writes 1.4. So all partitions
// of a lane share a chain of segments, and a commit of the whole lane is one
// write and one fdatasync, however many partitions take part:
//
//	Submit ─▶ queue ─▶ lane: encode │ write │ fdatasync ─▶ publish: ends move, readers wake ─▶ Done
//
// What follows from that:
//
//   - Retention frees whole segments, when all in one has expired. A lane is a
//     retention priority: give streams that must live longer their own.
//   - A segment is used again from the front. Its ID, in every checksum, tells
//     what was written this time from what was written before.
//   - Small facts (cursors, log starts) ride in the padding of commits that
//     happen anyway. An idle store writes nothing.
//   - Every segment begins with a snapshot of all small facts and ends with an
//     index of its batches. Opening reads one page of each sealed segment and
//     scans the last.
//   - The first failed write or sync latches the lane. Nothing is confirmed
//     until the journal's end has been read back from the device.
//   - What flash loses all the same is named to the reader, and can be given back
//     from another copy: it is kept in patches, beside the journal.
//
// README.md beside this file has the bytes, the crash states and what is
// assumed of a disk. Subpackages: vfs (file operations and their failures),
// segment (one segment as bytes), batch (Kafka's record batch), ingest (single
// records into batches).
package segstore
