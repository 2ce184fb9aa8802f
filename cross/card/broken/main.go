// Command broken is what an update should not bring: a program in the agent's
// place that fails, in the way that main.how names when it is linked.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// how it fails: "exit" at once, or "hang" once it said that it is ready.
var how = "exit"

func main() {
	fmt.Println("broken: this agent will", how)
	if how != "hang" {
		os.Exit(1)
	}
	if err := tell("READY=1\nWATCHDOG=1"); err != nil {
		fmt.Println("broken:", err)
		os.Exit(1)
	}
	for { // select {} is a deadlock, which Go would find
		time.Sleep(time.Hour)
	}
}

// tell speaks sd_notify's protocol to whoever started us.
func tell(what string) error {
	conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(what))
	return err
}
