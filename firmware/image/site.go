package image

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"cistern/firmware/slot"
)

// Files of a site's folder, and of p1's folder that they are copied to.
const (
	BootFolder  = "cistern"
	ConfigFile  = "cistern.toml"
	GatewayFile = "gateway.toml"
)

const nameMax = 255 // of FAT

// stays says which files of a site's folder never go onto a card.
func stays(name string) bool {
	switch filepath.Ext(name) {
	case ".img", ".update", ".zst", ".xz", ".gz", ".zip":
		return true
	}
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		name == slot.PrivateFile || name == slot.PublicFile || name == piExtraFile
}

// unfit says whether FAT would refuse a path, or change it: it takes away dots
// and spaces at the end of a name.
func unfit(path string) bool {
	for _, name := range strings.Split(path, "/") {
		if strings.ContainsAny(name, "\\:*?\"<>|") || strings.TrimRight(name, ". ") != name ||
			strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
			return true
		}
	}
	return false
}

// Site is what a site's folder gives to an image.
type Site struct {
	files  files // by name in p1's folder
	public ed25519.PublicKey
	extra  []byte // for config.txt
}

// ReadSite reads the folder that config is in; an empty config is no site: the
// image has the agent's own defaults then.
func ReadSite(config string) (Site, error) {
	if config == "" {
		return Site{}, nil
	}
	if filepath.Base(config) != ConfigFile {
		return Site{}, fmt.Errorf("%s: must be called %s: the gateway finds it by that name", config, ConfigFile)
	}
	dir := filepath.Dir(config)
	s, err := ReadSystem(dir)
	if err != nil {
		return Site{}, err
	}
	s.files = make(files)
	if err := s.collect(dir, ""); err != nil {
		return Site{}, err
	}
	if s.files[ConfigFile] == nil {
		return Site{}, fmt.Errorf("%s: %w", config, fs.ErrNotExist)
	}
	return s, nil
}

// ReadSystem reads only what of a site's folder becomes part of the system,
// and so of updates: the key that they are signed with, and config.txt's rest.
func ReadSystem(dir string) (Site, error) {
	var s Site
	var err error
	if s.extra, err = os.ReadFile(filepath.Join(dir, piExtraFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Site{}, err
	}
	s.public, err = ReadPublic(filepath.Join(dir, slot.PublicFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// Public is the key whose updates the system takes; nil: it takes none.
func (s Site) Public() ed25519.PublicKey { return s.public }

// Configured says whether there is a configuration.
func (s Site) Configured() bool { return s.files != nil }

// Names lists what goes into p1's folder.
func (s Site) Names() []string { return s.files.paths() }

// has says whether there is a file of that name, as FAT sees names.
func (s *Site) has(name string) bool {
	for p := range s.files {
		if strings.EqualFold(p, name) {
			return true
		}
	}
	return false
}

// collect reads a folder and what is in it.
func (s *Site) collect(dir, under string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if stays(e.Name()) {
			continue
		}
		path, name := filepath.Join(dir, e.Name()), under+e.Name()
		st, err := os.Stat(path) // what a link leads to
		if err != nil {
			return err
		}
		switch {
		case st.IsDir():
			if strings.Count(name, "/") == slot.ConfigDepthMax {
				return fmt.Errorf("%s: more than %d folders lie in each other", path, slot.ConfigDepthMax)
			}
			err = s.collect(path, name+"/")
		case unfit(name) || len(e.Name()) > nameMax:
			err = fmt.Errorf("%s: a card's file system does not take that name", path)
		case s.has(name):
			err = fmt.Errorf("%s: another file differs from it in nothing but large and small letters, which a card's file system does not tell apart", path)
		case !st.Mode().IsRegular():
			err = fmt.Errorf("%s: is neither a file nor a folder", path)
		case st.Size()+s.files.bytes() > slot.ConfigBytesMax || len(s.files)+len(foldersOf(s.files)) >= slot.ConfigFilesMax:
			err = fmt.Errorf("%s: the site's folder holds more than %d MiB or %d files; everything in it goes onto the card, "+
				"so keep other things elsewhere", path, slot.ConfigBytesMax>>20, slot.ConfigFilesMax)
		default:
			s.files[name], err = os.ReadFile(path)
			if s.files[name] == nil {
				s.files[name] = []byte{} // an empty file is a file
			}
			if err == nil && slot.HoldsPrivate(s.files[name]) {
				err = fmt.Errorf("%s: %w; keep its copies elsewhere", path, ErrPrivate)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
