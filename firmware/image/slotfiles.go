package image

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/firmware/slot"
)

// Names in a slot. The Pi's firmware looks for some of them.
const (
	KernelFile    = "kernel8.img"
	InitramfsFile = "initramfs.zst"
	CommandFile   = "cmdline.txt"
	configFile    = "config.txt"
	bootcodeFile  = "bootcode.bin"
)

// commandLines is what the kernel is told. The console that comes last is the
// one that init writes to; the Pi's firmware puts the right port for serial0.
var commandLines = map[string]string{
	slot.BoardPi:   "console=serial0,115200 console=tty1 panic=10 cistern.board=pi",
	slot.BoardQemu: "console=ttyAMA0 panic=10 cistern.board=qemu",
}

// piConfig is the slot's config.txt. What a site needs beyond it, like the
// overlay of a clock or a UPS, comes from its own piExtraFile.
const piConfig = `# Written by cistern-image; an update brings its own. What your boards need
# beyond this goes into ` + piExtraFile + `, beside cistern.toml, before the image is built.
arm_64bit=1
kernel=` + KernelFile + `
initramfs ` + InitramfsFile + ` followkernel
disable_splash=1
gpu_mem=16
dtparam=watchdog=on
`

// piExtraFile in the site's folder is added to config.txt.
const piExtraFile = "pi-config.txt"

// piFirmware is what starts the boards before the Pi 5, without what only
// cameras and debugging need.
var piFirmware = []string{
	"start.elf", "fixup.dat", "start_cd.elf", "fixup_cd.dat",
	"start4.elf", "fixup4.dat", "start4cd.elf", "fixup4cd.dat", "LICENSE.broadcom",
}

// boardFiles is a slot without the initramfs and release.json.
func boardFiles(board string, p Parts, extra []byte) (files, error) {
	out := files{CommandFile: []byte(commandLines[board] + "\n")}
	kernel, err := os.ReadFile(filepath.Join(p.Kernel, "vmlinuz"))
	if err != nil {
		return nil, err
	}
	if out[KernelFile], err = zipped(kernel); err != nil {
		return nil, err
	}
	if err := out.glob(p.Kernel, "*.dtb", "."); err != nil {
		return nil, err
	}
	if err := out.glob(p.Kernel, "LICENSE*", "."); err != nil {
		return nil, err
	}
	if board == slot.BoardQemu {
		return out, nil
	}
	if err := out.glob(p.Kernel, "overlays/*", "overlays"); err != nil {
		return nil, err
	}
	for _, name := range piFirmware {
		if out[name], err = os.ReadFile(filepath.Join(p.Firmware, name)); err != nil {
			return nil, err
		}
	}
	out[configFile] = []byte(piConfig)
	if len(extra) > 0 {
		out[configFile] = append(out[configFile], append([]byte("\n# "+piExtraFile+"\n[all]\n"), extra...)...)
	}
	return out, nil
}

// glob adds all files that match, at least one, to a folder.
func (f files) glob(root, pattern, folder string) error {
	all, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("%s: nothing matches %s", root, pattern)
	}
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f[strings.TrimPrefix(folder+"/"+filepath.Base(p), "./")] = b
	}
	return nil
}

// zipped is the kernel as the Pi's firmware and qemu both unpack it: less to
// read from the card, at boot and in an update.
func zipped(kernel []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(kernel); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
