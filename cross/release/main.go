// Command release makes what is handed out: a static binary for each gateway we
// support, the licences of everything in it, a bill of materials (CycloneDX) for
// each, and SHA256SUMS over all of them, in build/release.
//
// Nothing of the machine it runs on gets into a binary but the Go version, and
// it proves that: each binary is compiled a second time, in another folder and
// with nothing cached, and has to come out the same byte for byte.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"cistern/cross/build"
	"cistern/firmware/image"
	"cistern/firmware/licence"
)

func main() { build.Command("release", run) }

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	out := f.String("out", "build/release", "the `folder` for the files")
	version := f.String("version", "", "the `version` (default: what git describes)")
	only := f.String("targets", "all", "what to build: all, or a `list` of "+strings.Join(names(), ","))
	prove := f.String("prove", "all", "what to build twice, to see that the bytes are the same: all, none, or a `list` of targets")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q: there are flags only; see -help", f.Arg(0))
	}
	chosen, err := choose(*only)
	if err != nil {
		return fmt.Errorf("-targets: %w", err)
	}
	proven, err := choose(*prove)
	if err != nil {
		return fmt.Errorf("-prove: %w", err)
	}
	root, err := image.FindRoot(".")
	if err != nil {
		return err
	}
	source, err := image.FindSource(ctx, root, *version)
	if err != nil {
		return err
	}
	if err := checkVersion(source.Version); err != nil {
		return err
	}
	w, err := newWorkshop(source)
	if err != nil {
		return err
	}
	defer w.close()
	return w.release(ctx, *out, chosen, proven)
}

// release makes the files of the chosen targets in out.
func (w *workshop) release(ctx context.Context, out string, chosen, proven []target) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var made []string
	var all bill
	for _, t := range chosen {
		binary := filepath.Join(out, w.name(t))
		if err := w.compile(ctx, t, binary); err != nil {
			return err
		}
		b, err := w.bill(ctx, t, binary)
		if err != nil {
			return err
		}
		if err := writeJSON(binary+".cdx.json", b.cycloneDX()); err != nil {
			return err
		}
		all.add(b)
		made = append(made, binary, binary+".cdx.json")
		size, err := check(t, binary, w.source)
		if err != nil {
			return err
		}
		fmt.Printf("%-44s %6.2f MB  %d modules\n", filepath.Base(binary), float64(size)/1e6, len(b.parts))
	}
	licences := filepath.Join(out, "cistern_"+w.source.Version+"_licences.txt")
	if err := os.WriteFile(licences, licence.Texts(all.version, all.terms, all.parts), 0o644); err != nil {
		return err
	}
	if err := writeSums(out, append(made, licences)); err != nil {
		return err
	}
	return w.prove(ctx, out, chosen, proven)
}
