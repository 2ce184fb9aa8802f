// Package export carries records past the network: out of a gateway into files,
// and from those into another gateway.
//
// An export is a folder:
//
//	manifest.json                        what is in it; written last
//	mqtt-0/00000000000000000042.log      batches of mqtt/0 from offset 42 on
//	mqtt-0/00000000000000107311.log      and more of them
//
// In the kafka format a file is a segment of a Kafka log: record batches v2 as they
// lie on the gateway's flash, with their offsets and leader epochs, so that Kafka's
// own tools read it (kafka.tools.DumpLogSegments --files …). In ndjson it is one
// JSON object per line and record.
//
// A file is written under another name, synced, and renamed when it is whole.
// Until the manifest is there the folder is marked as unfinished; an export that
// was broken off begins anew in the same folder.
//
// # Moving
//
// An export can be a copy or a move. A move ends with the drain of the exporting
// gateway skipping what was exported, so that it does not go upstream a second
// time. The manifest says "pending" before and "done" after: an import takes only
// what is done, so that no record goes both ways, whenever power is lost.
//
// # Memory
//
// Everything streams: one read of ReadBytes and one batch are in memory, however
// much there is to carry.
package export
