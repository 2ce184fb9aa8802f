# build, demo and test need Go and make, and nothing else.
# e2e, bench and bench-peers do more where there is root, Mosquitto and kcat.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
TAGS         = e2e,targets
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help build demo test race bench bench-peers e2e sim targets lint
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build/cistern, static and stripped
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w -X main.version=$(VERSION)' -o build/ ./agent/cistern

demo: ## three gateways, a cut uplink, a kill -9, and a table of what it cost
	@$(GO) build -o build/ ./cross/demo && build/demo

test: ## everything a change has to pass, in under five minutes
	$(GO) vet ./...
	$(GO) test ./...

race: ## the same under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./...

e2e: ## the long tests: kills, cuts, full disks, other people's clients (root)
	$(GO) test -tags e2e -count=1 -timeout 20m -p 1 -v ./cross/e2e ./cross/site

sim: ## the replication protocol under 20,000 seeds of faults
	CISTERN_SIM_SEEDS=20000 $(GO) test -count=1 -timeout 30m -v ./cross/sim

targets: ## builds for every gateway we support, with their sizes
	$(GO) test -tags targets -count=1 -run TestTargets -v ./cross/build

bench: ## the journal against the least a durable journal can do
	@$(GO) build -o build/ ./cross/bench && build/bench $(ARGS)

bench-peers: ## the gateway beside Mosquitto and NATS, under the same load
	@cd cross/peers && $(GO) build -o ../../build/bench-peers . && ../../build/bench-peers $(ARGS)

lint: ## gofmt, vet and staticcheck, over all build tags and the nested module
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...
	cd cross/peers && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
