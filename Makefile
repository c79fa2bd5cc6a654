# make demo   builds, starts a cluster of three instances in ./lycosa-demo and stays in the foreground
# make test   installs what the tests need, then runs every check
# make help   lists the rest

SHELL := /bin/bash
export CGO_ENABLED ?= 0
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/lycosadb/lycosa/internal/cli.version=$(VERSION)
FUZZTIME ?= 20000x
SIMSEEDS ?= 500
DISCOVERYSEEDS ?= 2000
GOVERNORSEEDS ?= 300
SOAKSEEDS ?= 100000
SOAKFUZZ ?= 5m

.PHONY: help build demo test deps lint unit sim planted soak fuzz blackbox generate bench-boot bench-tarantool bench-cluster clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

build: ## build the static binary bin/lycosa
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/lycosa ./cmd/lycosa

demo: build ## build and run a cluster of three instances in ./lycosa-demo
	exec bin/lycosa demo

test: deps lint unit sim planted fuzz blackbox ## every check

deps: ## install what the tests need from Debian and npm, and the linters
	./tools/install-test-deps

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt would change:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	bin/tools/staticcheck ./...

unit: ## unit tests with the race detector, and the rules of the house
	CGO_ENABLED=1 $(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v /test)

sim: ## simulations under faults: $(SIMSEEDS) seeds of raft groups and of whole clusters, each crash in a join, $(DISCOVERYSEEDS) of discovery, $(GOVERNORSEEDS) of the governor
	./tools/simulate ./internal/sim TestSeeds $(SIMSEEDS)
	./tools/simulate ./internal/sim TestCluster $(SIMSEEDS)
	$(GO) test -count=1 ./internal/sim -run TestJoinCrashes -sim.seeds 1
	./tools/simulate ./internal/discovery TestOneLeader $(DISCOVERYSEEDS)
	./tools/simulate ./internal/governor TestModel $(GOVERNORSEEDS)

planted: ## three planted bugs, others each day, that the tests have to find
	$(GO) run ./test/planted -rotate 3

soak: build ## an hour or more: $(SOAKSEEDS) simulated seeds, all planted bugs, 1,000 kills, fuzzing for $(SOAKFUZZ) a target
	$(MAKE) sim SIMSEEDS=$(SOAKSEEDS) DISCOVERYSEEDS=$(SOAKSEEDS) GOVERNORSEEDS=$$(($(SOAKSEEDS) / 10))
	$(GO) run ./test/planted
	$(GO) test -count=1 -timeout 0 ./test -run TestKillsAtRandom -crash-kills 1000
	$(GO) test -count=1 -timeout 0 ./test/faults -faults-rounds 15 -faults-power-cuts 50 -faults-joins 24
	./tools/fuzz-all $(SOAKFUZZ)

fuzz: ## every fuzz target for $(FUZZTIME) each
	./tools/fuzz-all $(FUZZTIME)

blackbox: build ## the real binary under real clients and faults
	$(GO) test -count=1 -timeout 15m $$($(GO) list ./test/... | grep -v /faults)
	$(GO) test -count=1 -timeout 15m ./test/faults

generate: ## diagrams, parameter and error tables
	$(GO) generate ./...

bench-boot: build ## empty directory to RolesConfigured and Online
	$(GO) test -run '^$$' -bench BenchmarkBoot -benchtime 20x ./test/

bench-tarantool: build ## compare with Debian's tarantool (about two hours; BENCH="-sections grid -ops select" for less)
	$(GO) build -o bin/bench-tarantool ./test/bench
	bin/bench-tarantool -lycosa bin/lycosa -out bin/bench-tarantool.md -raw bin/bench-tarantool.jsonl $(BENCH)

bench-cluster: build ## clusters: assembly, failover, switch, quorum writes beside etcd, idle (BENCH=-full for the table, about ten minutes)
	./tools/install-bench-deps
	$(GO) build -o bin/bench-cluster ./test/bench/cluster
	bin/bench-cluster -out bin/bench-cluster.md $(BENCH)

clean: ## remove what was built
	rm -rf bin
