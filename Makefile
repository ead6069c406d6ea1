# SPDX-License-Identifier: Apache-2.0
# Thin: the real work is in CMakeLists.txt and scripts/. `make run` and
# `make test` do everything on a fresh Debian machine.
JOBS ?= $(shell nproc)
BUSTED ?= busted

.PHONY: build run test test-unit test-contract test-integration test-lua \
	test-e2e test-asan lint typecheck verify coverage fuzz soak bench \
	load-test image image-test clean help

help:
	@echo "make run    build and start all services on this machine"
	@echo "make test   build and run every suite"
	@echo "make verify    lint and typecheck: before a push"
	@echo "make coverage  lines that the tests reach, at least COVERAGE_MIN %"
	@echo "make build | lint | typecheck | fuzz | soak | bench | load-test | clean"
	@echo "make image | image-test    the container image, built and run here (root)"

build/build.ninja: CMakeLists.txt
	@scripts/bootstrap build
	@cmake --preset release >/dev/null

build: build/build.ninja
	@ninja -C build -j $(JOBS) xin

run: build
	@exec build/xin serve

test:
	@scripts/bootstrap test
	@scripts/run_tests

test-unit:
	@scripts/bootstrap test
	@scripts/run_tests unit

test-contract:
	@scripts/bootstrap test
	@scripts/run_tests contract

test-integration:
	@scripts/bootstrap test
	@scripts/run_tests integration

test-lua:
	@scripts/bootstrap test
	@scripts/run_tests lua

test-e2e:
	@scripts/bootstrap test
	@scripts/run_tests e2e

test-asan:
	@scripts/bootstrap test
	@scripts/run_tests asan

lint:
	@scripts/bootstrap test
	@scripts/lint

typecheck:
	@scripts/bootstrap test
	@scripts/typecheck

verify: lint typecheck

coverage:
	@scripts/bootstrap test
	@scripts/coverage

fuzz:
	@scripts/bootstrap soak
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-10} scripts/fuzz

soak:
	@scripts/bootstrap soak
	@scripts/soak

image:
	@scripts/bootstrap image
	@deploy/image/build $(IMAGE_ARGS)

# Minutes, root and the network: apart from `make test`.
image-test:
	@scripts/bootstrap image
	@python3 tests/image/image_test.py || [ $$? = 77 ]

# LOCUST_HOST=https://gateway.example make load-test LOCUST_ARGS="--spawn-rate 5"
load-test:
	@scripts/load_test $(LOCUST_ARGS)

bench: build
	@ninja -C build -j $(JOBS) benches
	@scripts/bench

clean:
	@rm -rf build build-*
