package flash

import (
	"fmt"
	"strings"
)

// BytesMax is the largest device that is taken for a card without being named
// twice.
const BytesMax = 512e9

// Refusal is why a device may not be written to.
type Refusal struct {
	Why string
	// Force is whether naming the device again helps.
	Force bool
}

// Refuse says why an image of so many bytes must not go onto d; nothing if it
// may.
func (d Device) Refuse(imageBytes int64) []Refusal {
	var out []Refusal
	never := func(format string, args ...any) { out = append(out, Refusal{Why: fmt.Sprintf(format, args...)}) }
	unless := func(format string, args ...any) { out = append(out, Refusal{fmt.Sprintf(format, args...), true}) }
	if d.Disk != "" {
		never("%s is a partition; a card's image goes onto the whole of /dev/%s", d.Name, d.Disk)
		return out
	}
	for _, use := range d.Uses {
		never("%s; unmount it, or take another device", use)
	}
	if d.ReadOnly {
		never("%s is write-protected; look for a small switch at the card's side", d.Name)
	}
	switch {
	case d.Bytes == 0:
		never("%s has no card in it", d.Name)
	case d.Bytes < imageBytes:
		never("%s has %s, the image %s", d.Name, Size(d.Bytes), Size(imageBytes))
	case d.Bytes > BytesMax:
		unless("%s has %s, more than cards have (%s)", d.Name, Size(d.Bytes), Size(BytesMax))
	}
	if !d.Removable && d.Kind != SD && d.Kind != USB {
		unless("%s is a %s that is built in, not a card or a stick", d.Name, d.Kind)
	}
	return out
}

// Same says whether now is what d was: a name and a number go to the next disk
// as soon as the one before is pulled out.
func (d Device) Same(now Device) bool {
	return d.Name == now.Name && d.Number == now.Number && d.Seq == now.Seq && d.Model == now.Model && d.Kind == now.Kind && d.Bytes == now.Bytes
}

// Data names the partitions that hold the records of a gateway.
func (d Device) Data(label string) []string {
	var out []string
	for _, p := range d.Parts {
		if p.Label == label {
			out = append(out, p.Name)
		}
	}
	return out
}

// Describe is what a person needs to see to know which device this is.
func (d Device) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "/dev/%s  %s  %s", d.Name, Size(d.Bytes), d.Kind)
	if d.Model != "" {
		fmt.Fprintf(&b, "  %s", d.Model)
	}
	b.WriteString("\n")
	for _, p := range d.Parts {
		line := fmt.Sprintf("  %s  %s  %s  %s", p.Name, Size(p.Bytes), p.Format, p.Label)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if len(d.Parts) == 0 {
		b.WriteString("  no partitions\n")
	}
	return b.String()
}

// Size is for people: cards are sold in powers of ten.
func Size(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	x, u := float64(n), 0
	for x >= 1000 && u < len(units)-1 {
		x, u = x/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[u])
}
