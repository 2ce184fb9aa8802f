package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"cistern/agent/status"
)

// publish hands a message to the running agent and waits for its PUBACK.
func (s *script) publish(topic, text string) error {
	d, err := status.NewClient(filepath.Join(s.dir, "cistern-data", "cistern.sock")).Status(s.Context())
	if err != nil {
		return err
	}
	options := mqtt.NewClientOptions().AddBroker("tcp://" + d.MQTT.Listeners[0].Address).SetClientID("script")
	options.SetConnectTimeout(10 * time.Second).SetAutoReconnect(false)
	client := mqtt.NewClient(options)
	for _, step := range []func() mqtt.Token{client.Connect, func() mqtt.Token { return client.Publish(topic, 1, false, text) }} {
		token := step()
		if !token.WaitTimeout(10 * time.Second) {
			return fmt.Errorf("no answer")
		}
		if token.Error() != nil {
			return token.Error()
		}
	}
	client.Disconnect(0)
	return nil
}

// file does the commands about files.
func (s *script) file(name, path, arg string) error {
	switch name {
	case "mode":
		info, err := os.Stat(path)
		if err == nil && fmt.Sprintf("%04o", info.Mode().Perm()) != arg {
			err = fmt.Errorf("it has %04o", info.Mode().Perm())
		}
		return err
	case "chmod":
		mode, err := strconv.ParseUint(arg, 8, 32)
		if err != nil {
			return err
		}
		return os.Chmod(path, os.FileMode(mode))
	case "flip":
		offset, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[offset] ^= 1
		return os.WriteFile(path, b, 0o600)
	}
	return fmt.Errorf("unknown command %q", name)
}
