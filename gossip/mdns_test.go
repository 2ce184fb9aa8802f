package gossip

const mdnsChild = "CISTERN_TEST_MDNS_CHILD"

func mdnsChildMain() int { return 0 }
