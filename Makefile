# treecast: set-up, build, demo and tests. `make demo` and `make test` do all that they need, asking nothing.

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
# promtool, systemd-analyze and an unmodified sender and receiver.
TEST_PACKAGES := prometheus systemd socat

.PHONY: all demo bench test check unit e2e build deps-demo deps-bench deps-test clean

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

# A stream through a tree that loses 2 % on every link, to six clients that miss nothing.
demo: build
	./target/release/treecast lab run lab/quickstart.toml

# The dataplane against testpmd, the kernel and itself: `make bench BENCH='--quick --json'` passes options on.
bench: build deps-bench
	./target/release/treecast bench $(BENCH)

test: deps-test check unit e2e

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit:
	$(AS_ROOT) $(CARGO) test --locked --workspace --exclude treecast

# One at a time: labs measure time, and share two cores with everything else. A test that can't run fails.
e2e:
	$(AS_ROOT) $(CARGO) test --locked --package treecast -- --test-threads=1

clean:
	$(CARGO) clean
