package trial

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"cistern/firmware/machine"
)

// FileName is where the record lies in the machine's folder of the data
// partition.
const FileName = "update.json"

// fileBytesMax is far more than a record has; the reason is cut to whyBytesMax.
const (
	fileBytesMax = 16 << 10
	whyBytesMax  = 2 << 10
)

// Read reads the record in folder, nil if there is none. A damaged one is an
// error and no record: what boots does not depend on it.
func Read(folder string) (*machine.Update, error) {
	f, err := os.Open(filepath.Join(folder, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	u, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return u, nil
}

func parse(text []byte) (*machine.Update, error) {
	if len(text) > fileBytesMax {
		return nil, fmt.Errorf("has more than %d bytes; no record of an update has", fileBytesMax)
	}
	u := new(machine.Update)
	if err := json.Unmarshal(text, u); err != nil {
		return nil, fmt.Errorf("is no record of an update: %w", err)
	}
	known := []string{machine.Written, machine.Trying, machine.Good, machine.RolledBack}
	if !slices.Contains(known, u.Result) || u.Slot != "a" && u.Slot != "b" {
		return nil, fmt.Errorf("is no record of an update: result %.20q in slot %.20q", u.Result, u.Slot)
	}
	return u, nil
}

// Write replaces the record: after a power cut there is the old one or the new.
func Write(folder string, u *machine.Update) error {
	kept := *u
	if len(kept.Why) > whyBytesMax {
		kept.Why = kept.Why[:whyBytesMax]
	}
	text, err := json.MarshalIndent(&kept, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(folder, FileName), append(text, '\n'))
}

// writing: see WriteFile.
var writing sync.Mutex

// WriteFile replaces a small file, durably: its content before its name, its
// name before the return.
func WriteFile(name string, content []byte) error {
	writing.Lock() // an order and a trial's end may come at once, to one name
	defer writing.Unlock()
	// One name for all: what a power cut leaves behind is written over.
	f, err := os.Create(filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new"))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		return fmt.Errorf("%s: %w", folder.Name(), err)
	}
	return nil
}
