# treecast: set-up, build, demo and tests. `make demo`, `make modes` and `make test` do all that
# they need, asking nothing.

CARGO ?= cargo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Tests make network namespaces and raw sockets: an ordinary user builds them, and runs them through sudo.
HOST := $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
AS_ROOT := $(if $(SUDO),CARGO_TARGET_$(HOST)_RUNNER='$(SUDO) -E')

# DPDK with its drivers; what bindgen and the C shim need; the lab's tools.
BUILD_PACKAGES := build-essential pkg-config libdpdk-dev libclang-dev clang
LAB_PACKAGES := ethtool iproute2 util-linux
# dpdk-testpmd, which the benchmark compares with.
BENCH_PACKAGES := dpdk-dev
# promtool, systemd-analyze, an unmodified sender and receiver, and what runs on kernel interfaces: ping and OSPF.
TEST_PACKAGES := prometheus systemd socat iputils-ping frr

.PHONY: all demo modes bench test check unit fuzz-short fuzz e2e sim-long miri build deps-demo deps-bench deps-test clean

all: build

# $(call install,PACKAGES): installs those that are missing.
define install
	@missing=$$(for package in $(1); do \
	  dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed \
	    || printf ' %s' $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	  echo "installing Debian packages:$$missing"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing; \
	fi
endef

deps-demo:
	$(call install,$(BUILD_PACKAGES) $(LAB_PACKAGES))

deps-bench: deps-demo
	$(call install,$(BENCH_PACKAGES))

deps-test: deps-demo
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	$(call install,$(TEST_PACKAGES))

build: deps-demo
	$(CARGO) build --release --locked

# The ways of filling gaps side by side, in labs: the table of the README, in some minutes.
modes: build
	./target/release/treecast lab modes lab/quickstart.toml lab/diamond.toml

# A stream through a tree that loses 2 % on every link, to six clients that miss nothing.
demo: build
	./target/release/treecast lab run lab/quickstart.toml

# The dataplane against testpmd, the kernel and itself: `make bench BENCH='--quick --json'` passes options on.
bench: build deps-bench
	./target/release/treecast bench $(BENCH)

test: deps-test check unit fuzz-short e2e

check:
	$(CARGO) fmt --all --check
	cd fuzz && $(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit:
	$(AS_ROOT) $(CARGO) test --locked --workspace --exclude treecast

# One at a time: labs measure time, and share two cores with everything else. A test that can't run fails.
e2e:
	$(AS_ROOT) $(CARGO) test --locked --package treecast -- --test-threads=1

# Each fuzz target for some seconds, the same way each time.
fuzz-short: deps-demo
	CARGO='$(CARGO)' fuzz/run 4 100000

# Each fuzz target for FUZZ_SECONDS, from where the last run ended.
FUZZ_SECONDS ?= 300
fuzz: deps-demo
	CARGO='$(CARGO)' fuzz/run $(FUZZ_SECONDS) 0

# 100,000 random trees, and 10,000 last hops with 100,000 packets: the better part of an hour.
sim-long:
	SIM_SEEDS=50000 $(CARGO) test --release --locked --package overlay random_trees -- --nocapture
	SIM_PACKETS=100000 $(CARGO) test --release --locked --package overlay ten_thousand -- --ignored --nocapture

# The types that own buffers, under Miri, on a fake of DPDK.
miri: deps-demo
	rustup toolchain install nightly --no-self-update --profile minimal --component miri --component rust-src
	MIRIFLAGS=-Zmiri-disable-isolation rustup run nightly cargo miri test --locked --package dataplane --lib ownership

clean:
	$(CARGO) clean
