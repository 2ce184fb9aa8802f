// Command qemu boots a gateway's image on this computer, to look at: `make
// qemu`. Without an image it makes one of this source tree, for a site of one
// gateway that lets everybody in, since only this computer can reach it.
//
// The machine runs on a copy of the image, which is thrown away with it. When
// the gateway restarts, after an update say, the machine does. Ctrl-C pulls the
// plug and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"cistern/cross/card"
	"cistern/cross/vm"
	"cistern/firmware/slot"
)

func main() {
	var o options
	flag.StringVar(&o.image, "image", "", "boot a copy of this image, for qemu or the Pi (default: make one of this source tree)")
	flag.StringVar(&o.version, "version", "", "the version of the image that is made (default: what git says)")
	flag.Int64Var(&o.mebibytes, "card", slot.ImageBytes>>20, "size of the card in MiB, a power of two")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "qemu: what is %q? The image is named with -image\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Println("\nthe plug is pulled, the copy of the card is thrown away")
	case err != nil:
		fmt.Fprintln(os.Stderr, "qemu:", err)
		os.Exit(1)
	}
}

type options struct {
	image, version string
	mebibytes      int64
}

func run(ctx context.Context, o options) error {
	forward, err := ports(card.MQTTPort, card.SitePort, card.HTTPPort)
	if err != nil {
		return err
	}
	c := card.Options{
		Image: o.image, Bytes: o.mebibytes << 20, Forward: forward, Console: os.Stdout,
		Append: "cistern.watchdog=off loglevel=7", // a laptop that sleeps is not to reset it; somebody reads what the kernel says
	}
	if o.image == "" {
		if c.Image, c.Site, err = made(ctx, o.version); err != nil {
			return err
		}
	}
	g, err := card.Insert(ctx, c)
	if err != nil {
		return err
	}
	defer g.Close()
	for {
		if err := life(ctx, g, c, forward); err != nil {
			return err
		}
	}
}

// errOff ends the program: the gateway has switched itself off.
var errOff = errors.New("the gateway has switched itself off")

// life is one boot, until the next one is due.
func life(ctx context.Context, g *card.Gateway, c card.Options, forward map[int]string) error {
	boot, err := g.On(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("--- %v\n", boot)
	if err := g.Ready(ctx); err == nil { // else it has ended, or stands still and says why
		fmt.Print(manual(c, forward))
	}
	end, err := g.AwaitEnd(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("--- %s\n", end)
	switch end {
	case vm.PowerOff:
		return errOff
	case vm.Killed:
		return fmt.Errorf("the emulator ended\n%s", g.VM().Tail())
	}
	return nil
}

// made makes the image of this source tree, and its site on the first time.
func made(ctx context.Context, version string) (string, *card.Site, error) {
	shop, err := card.Open(ctx, version, func(s string) { fmt.Println(s) })
	if err != nil {
		return "", nil, err
	}
	dir := filepath.Join(shop.Source.Root, "build", "emulated")
	site, err := card.OpenSite(filepath.Join(dir, "site"))
	if errors.Is(err, os.ErrNotExist) {
		site, err = card.NewSite(filepath.Join(dir, "site"))
	}
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, "cistern-"+shop.Source.Version+".img")
	if _, err := os.Stat(path); err == nil && shop.Source.Commit != "unknown" && !strings.HasSuffix(shop.Source.Version, "-dirty") {
		return path, site, nil // what is committed does not change; without git nobody knows
	}
	return path, site, shop.Image(ctx, path, slot.BoardQemu, site, card.Part{})
}

// ports are the machine's own numbers where they are free here, else others.
func ports(numbers ...int) (map[int]string, error) {
	forward, err := vm.FreePorts(numbers...)
	if err != nil {
		return nil, err
	}
	for _, n := range numbers {
		same := fmt.Sprintf("127.0.0.1:%d", n)
		if l, err := net.Listen("tcp", same); err == nil {
			l.Close()
			forward[n] = same
		}
	}
	return forward, nil
}

// manual says what to type.
func manual(c card.Options, forward map[int]string) string {
	host, port, _ := net.SplitHostPort(forward[card.MQTTPort])
	text := fmt.Sprintf(`--- the gateway's ports are here:
      MQTT    mosquitto_pub -h %s -p %s -q 1 -t plant/line1 -m hello
      status  curl http://%s/status
`, host, port, forward[card.HTTPPort])
	if c.Site != nil {
		text += fmt.Sprintf("      site    build/cistern status --gateway %s --key-file %s/site.key\n", forward[card.SitePort], c.Site.Dir)
	} else {
		text += fmt.Sprintf("      site    %s (each as far as the image's configuration listens on %d, %d, %d)\n",
			forward[card.SitePort], card.MQTTPort, card.HTTPPort, card.SitePort)
	}
	return text + "      Ctrl-C ends it\n"
}
