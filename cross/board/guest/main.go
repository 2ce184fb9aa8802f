//go:build linux

// Command guest is all there is on a machine that cross/board starts: it does
// with the lines, the LED and the watchdog of its kernel what the agent does,
// and says on the console what came of it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"cistern/firmware/board"
	"cistern/firmware/watchdog"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the first process of an emulated machine, and nothing to run by hand")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Println("FAILED", err)
	}
	fmt.Println("DONE")
	time.Sleep(time.Second) // for the console to say it
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // what comes back is on a machine that can't be switched off
	select {}
}

func run() error {
	for point, kind := range map[string]string{"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs"} {
		if err := unix.Mount(kind, point, kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", point, err)
		}
	}
	// What the test asks for comes as environment: the kernel hands on those
	// words of its command line that it does not know.
	chip, led := os.Getenv("CHIP"), os.Getenv("LED")
	line, err := strconv.Atoi(os.Getenv("LINE"))
	if err != nil {
		return fmt.Errorf("LINE: %w", err)
	}
	if driver := os.Getenv("UNBIND"); driver != "" { // it has the line
		if err := os.WriteFile("/sys/bus/platform/drivers/"+driver+"/unbind", []byte(driver), 0); err != nil {
			return err
		}
	}
	if os.Getenv("TWICE") != "" { // as Raspberry Pi OS does on a Pi 5
		if err := os.Symlink("gpiochip0", "/dev/gpiochip4"); err != nil {
			return err
		}
	}
	report, err := json.Marshal(board.Look(""))
	if err != nil {
		return err
	}
	fmt.Printf("REPORT %s\n", report)
	if err := lines(chip, line, led); err != nil {
		return err
	}
	if os.Getenv("DOG") != "" {
		return dog()
	}
	return nil
}

// lines waits for the power to fail and to come back, while the LED blinks.
func lines(chip string, line int, led string) error {
	c := board.Config{
		PowerFail: &board.PowerFail{Line: board.Line{Chip: chip, Offset: line}, Settle: 10 * time.Millisecond},
		LED:       &board.LED{Name: led},
	}
	if led == "" {
		c.LED = &board.LED{Line: &board.Line{Chip: chip, Offset: line + 1}}
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	b, err := board.Open(c, log)
	if err != nil {
		return err
	}
	fmt.Printf("OPENED problems %v\n", b.Problems())
	_, err = unix.FcntlInt(0, unix.F_GETFD, 0)
	fmt.Printf("STDIN %v\n", err)
	again, err := board.Open(board.Config{Button: &board.Button{Line: c.PowerFail.Line}}, log)
	if err != nil {
		return err
	}
	fmt.Printf("AGAIN %v\n", again.Problems())
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.Show(board.Failing)
	if led != "" {
		blinks(led)
		stop()
	} else {
		fmt.Println("WAITING")
		for _, kind := range []board.EventKind{board.PowerFailed, board.PowerBack} {
			select {
			case e := <-b.Events():
				fmt.Printf("EVENT %s (want %s), told %v after it\n", e.Kind, kind, time.Since(e.At).Round(time.Millisecond))
			case <-ctx.Done():
				return fmt.Errorf("no %s within a minute", kind)
			}
		}
		stop()
	}
	began := time.Now()
	if err := <-ended; err != nil {
		return err
	}
	fmt.Printf("STOPPED after %v: %+v, %v\n", time.Since(began).Round(time.Millisecond), b.Stats(), b.Close())
	if led != "" {
		text, err := os.ReadFile("/sys/class/leds/" + led + "/trigger")
		fmt.Printf("LED trigger %s %v\n", bytes.TrimSpace(text), err)
	}
	return nil
}

// A fast blinking LED changes every 150 ms: so many changes take blinksMin at least.
// A guest that gets no processor blinks and looks late, never early.
const (
	blinksSeen = 14
	blinksMin  = 1500 * time.Millisecond
	blinksMax  = 7 * time.Second
)

// blinks looks at the LED until it has changed often enough.
func blinks(led string) {
	was, changes := "", 0
	began := time.Now()
	for ; changes < blinksSeen && time.Since(began) < blinksMax; time.Sleep(10 * time.Millisecond) {
		is, err := os.ReadFile("/sys/class/leds/" + led + "/brightness")
		if err != nil {
			fmt.Println("FAILED", err)
			return
		}
		if string(is) != was {
			was = string(is)
			changes++
		}
	}
	took := time.Since(began)
	fmt.Printf("BLINKS %v: %d changes in %v\n", changes == blinksSeen && took >= blinksMin, changes, took.Round(time.Millisecond))
}

// dog starts and stops the watchdog, and then lets it bite.
func dog() error {
	w, err := watchdog.Open("/dev/watchdog", 10*time.Second)
	if err != nil {
		return err
	}
	_, second := watchdog.Open("/dev/watchdog", 10*time.Second)
	boot, err := w.BootStatus()
	fmt.Printf("DOG %s, %v, boot status %+v %v; a second one: %v\n", w.Identity(), w.Timeout(), boot, err, second)
	if err := w.Close(); err != nil {
		return err
	}
	fmt.Printf("CLOSED active: %v\n", board.Look("").Watchdogs[0].Active)
	if w, err = watchdog.Open("/dev/watchdog", watchdog.TimeoutMin); err != nil {
		return err
	}
	fmt.Printf("HUNGRY %v\n", w.Timeout())
	time.Sleep(30 * time.Second)
	return fmt.Errorf("it did not bite")
}
