# build, demo and test need Go and make, and nothing else.
# e2e, bench and bench-peers do more where there is root, Mosquitto and kcat;
# kafka and test-kafka need Java 17 and Maven, and the latter kcat and mosquitto_pub.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
TAGS         = e2e,targets,kafka,image,deb,docs
SHIPPED      = $(shell grep ^- cross/build/agent.flags)
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT       = $(shell git rev-parse HEAD 2>/dev/null)

.PHONY: help build demo test race bench bench-drain bench-peers e2e e2e-together e2e-alone kafka sim targets release test-kafka lint image update flash qemu test-image deb test-deb
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build/cistern, static and stripped
	CGO_ENABLED=0 $(GO) build $(SHIPPED) -ldflags='-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o build/ ./agent/cistern

demo: ## three gateways, a cut uplink, a kill -9, and a table of what it cost
	@$(GO) build -o build/ ./cross/demo && build/demo

test: ## everything a change has to pass, in under five minutes
	$(GO) vet ./...
	$(GO) test ./...

race: ## the same under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./...

deb: ## Debian packages for armhf, arm64 and amd64, in build/deb
	@$(GO) run ./cross/deb -version '$(VERSION)' $(ARGS)

test-deb: ## the packages' life on a real Debian for arm64, in an emulator (root)
	$(GO) test -tags deb -count=1 -timeout 20m -v ./cross/deb
	$(GO) test -tags docs -count=1 -run Docs -v ./agent/cistern

# The image's tools: mtools and e2fsprogs, and apt for the board's e2fsck.
BOARD       ?= pi
image: build/cistern-image ## a card for BOARD=pi or qemu, with the site in CONFIG=folder/cistern.toml
	@build/cistern-image build --board '$(BOARD)' --config '$(CONFIG)' --version '$(VERSION)'

update: build/cistern-image ## a signed update for BOARD=, with KEY=folder/update.key
	@build/cistern-image update --board '$(BOARD)' --key '$(KEY)' --version '$(VERSION)'

# Root for writing to the card only: as root there is often no Go.
flash: build build/cistern-image ## write IMG= (default: the newest) to DEV=/dev/sdX, with GATEWAY=file
	@$(if $(filter-out 0,$(shell id -u)),sudo) build/cistern-image flash --checker build/cistern --gateway '$(GATEWAY)' $(ARGS) $(if $(IMG),'$(IMG)') '$(DEV)'

qemu: ## boot a copy of IMG= in an emulator, or of a new image (qemu-system-arm, mtools)
	@$(GO) build -o build/ ./cross/qemu && build/qemu -version '$(VERSION)' -image '$(IMG)' $(ARGS)

test-image: ## the images: the same twice, power cuts, updates, a Raspberry Pi 3; in an emulator
	$(GO) test -tags image -count=1 -timeout 15m -v ./cross/card ./firmware/image ./firmware/flash ./firmware/cistern-image ./cross/board

.PHONY: build/cistern-image
build/cistern-image:
	@$(GO) build -o build/ ./firmware/cistern-image

e2e: e2e-together e2e-alone ## the long tests: kills, cuts, full disks, other people's clients (root)

# Those that wait for events, however long these take; those of sites take turns.
TURNS = grep -hB1 -E '^	(takeTurn|t\.Parallel)\(' cross/site/*_e2e_test.go | sed -n 's/^func \(Test[A-Za-z0-9]*\).*/\1/p' | paste -sd '|'
e2e-together:
	$(GO) test -tags e2e -count=1 -timeout 20m -v ./cross/e2e
	$(GO) test -tags e2e -count=1 -timeout 20m -parallel 16 -run "^($$($(TURNS)))$$" -v ./cross/site

# Those that hold a span of time against a bound.
e2e-alone:
	$(GO) test -tags e2e -count=1 -timeout 20m -skip "^($$($(TURNS)))$$" -v ./cross/site

kafka: ## a real Apache Kafka broker on 127.0.0.1:9092, until Ctrl-C (Java, Maven)
	@$(GO) run ./cross/kafka/broker $(ARGS)

test-kafka: ## the drain against real brokers of Apache Kafka, which it starts
	$(GO) run ./cross/kafka/broker -fresh -listen 127.0.0.1:0 $(GO) test -count=1 ./bridge/drain/kafkasink
	$(GO) test -tags kafka -count=1 -timeout 15m -parallel 4 -v ./cross/kafka

sim: ## the replication protocol under 20,000 new seeds of faults: run it at night
	CISTERN_SIM_BASE=fresh CISTERN_SIM_SEEDS=20000 $(GO) test -count=1 -timeout 30m -v ./cross/sim

targets: ## builds for every gateway we support, with their sizes
	$(GO) test -tags targets -count=1 -timeout 30m -run 'TestTargets|TestRelease' -v ./cross/build ./cross/release

release: ## build/release: static binaries, compiled twice to the same bytes; sums, licences, SBOMs
	$(GO) test ./cross/build
	$(GO) run ./cross/release $(if $(filter command line environment,$(origin VERSION)),-version '$(VERSION)') $(ARGS)

bench: ## the journal against the least a durable journal can do
	@$(GO) build -o build/ ./cross/bench && build/bench $(ARGS)

bench-drain: ## the drain: CPU per KiB, memory, a shaped link, bytes on the wire
	@$(GO) build -o build/ ./cross/bench && build/bench -drain $(ARGS)

bench-peers: ## the gateway beside Mosquitto and NATS, under the same load
	@cd cross/peers && $(GO) build -o ../../build/bench-peers . && ../../build/bench-peers $(ARGS)

lint: ## gofmt, vet and staticcheck, over all build tags and the nested module
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...
	cd cross/peers && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd firmware/parts && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
