package source

import "github.com/eclipse/paho.mqtt.golang/packets"

// noStore stands where paho keeps a copy of every message under way. The
// broker keeps those of ours until they are acknowledged; a second copy would
// double the memory of a full window and is never read.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
