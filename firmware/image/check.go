package image

import (
	"context"
	"fmt"
	"path/filepath"
)

// Check has the agent of this source tree read a site's configuration, with
// gateway.toml where the site's folder has one.
func (s Source) Check(ctx context.Context, cache, config string, site Site) error {
	checker, err := s.Checker(ctx, cache)
	if err != nil {
		return err
	}
	overlay := ""
	if site.files[GatewayFile] != nil {
		overlay = filepath.Join(filepath.Dir(config), GatewayFile)
	}
	return CheckConfig(ctx, checker, config, overlay)
}

// CheckConfig has the agent itself say whether it would take a configuration:
// checker is a cistern of this machine. overlay may be empty.
func CheckConfig(ctx context.Context, checker, config, overlay string) error {
	args := []string{"config", "check", config}
	if overlay != "" {
		args = append(args, "--overlay", overlay)
	}
	_, err := call{}.run(ctx, checker, args...)
	if err == nil {
		return nil
	}
	return fmt.Errorf("the configuration is not fit for a card: %w", err)
}
