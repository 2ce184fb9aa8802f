package drain

import "cistern/segstore"

// The store's own types fit without adapters.
var (
	_ Log   = (*segstore.Log)(nil)
	_ State = (*segstore.State)(nil)
)
