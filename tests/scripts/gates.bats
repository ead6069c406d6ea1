#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The make targets (items 70 to 81): what they run, and that a machine without
# the servers is told so soon.

load helper

setup() { cd "$ROOT" || exit 1; }

# The same within `make test`, whose flags a make inside it would take over.
plan() { # target...
	run env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -n "$@"
	[ "$status" -eq 0 ]
}

# A PATH with nothing but the named programs.
only() { # program...
	local program
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	for program in "$@"; do
		ln -sf "$(PATH=/usr/bin:/bin:$PATH command -v "$program")" "$BATS_TEST_TMPDIR/bin/$program"
	done
	ONLY=$BATS_TEST_TMPDIR/bin
}

@test "70: make test runs all suites" {
	plan test
	has "scripts/bootstrap test"
	[ "${lines[${#lines[@]} - 1]}" = scripts/run_tests ]
	local all suite file folder
	all=$(sed -n '/^all="/,/"$/{s/^all=//;p}' scripts/run_tests | tr '"\n' '  ')
	for suite in unit contract integration lint lua scripts cluster; do
		grep -q "^suite_$suite() {" scripts/run_tests
	done
	for suite in $(sed -n 's/^suite_\([a-z0-9]*\)() {.*/\1/p' scripts/run_tests); do
		[[ " $all " == *" $suite "* ]] || { echo "left out: $suite"; return 1; }
	done
	# Files that nothing globs, each in a suite of its folder (`make image-test` is apart).
	for file in $(git ls-files 'tests/*_test.py' ':!tests/image'); do
		folder=${file%/*}/
		awk -v RS='\n}\n' -v folder="$folder" 'index($0, folder)' scripts/run_tests |
			grep -qw "$(basename "$file" .py)" || { echo "in no suite: $file"; return 1; }
	done
}

@test "70: a suite that fails makes the whole fail, one without its tool is skipped by name" {
	sed '/^all="/,/"$/c all="good bad odd"' scripts/run_tests >"$BATS_TEST_TMPDIR/run_tests"
	sed -i 's|^cd .*|suite_good() { true; }; suite_bad() { return 3; }; suite_odd() { return 77; }|' "$BATS_TEST_TMPDIR/run_tests"
	run bash "$BATS_TEST_TMPDIR/run_tests"
	[ "$status" -eq 1 ]
	has "odd          skipped (its tool or data cannot be had here)"
	has "bad          FAILED"
	run bash "$BATS_TEST_TMPDIR/run_tests" good odd
	[ "$status" -eq 0 ]
}

@test "71, 72, 73: the three suites alone" {
	for suite in unit integration contract; do
		plan "test-$suite"
		[ "${lines[${#lines[@]} - 1]}" = "scripts/run_tests $suite" ]
	done
}

@test "72: the integration suite starts its own servers, and no container engine" {
	grep -q 'redis-server' tests/support/cluster.py
	grep -q 'postgres_server.Server()' tests/support/cluster.py
	! git grep -lwE 'docker|podman|testcontainers' -- tests/integration 'tests/support/*.py' scripts
}

@test "74, 75, 81: make coverage reports, has a threshold and counts every file" {
	plan coverage
	has scripts/coverage
	grep -q 'COVERAGE_MIN' scripts/coverage_report
	grep -q 'COVERAGE_MIN.*85' scripts/coverage_report
	grep -q 'ls-files' scripts/coverage_report
	scripts/lint hidden
}

# One C file half reached, one Lua file wholly; then whatever a test adds.
small_tree() {
	command -v gcov >/dev/null && command -v luac5.4 >/dev/null || skip "gcov or luac5.4 cannot be had"
	TREE=$BATS_TEST_TMPDIR/tree
	mkdir -p "$TREE/src" "$TREE/lua" "$TREE/scripts" "$TREE/build-coverage/CMakeFiles/x.dir/src"
	cp scripts/coverage_report "$TREE/scripts/"
	printf 'int\nmain(int argc, char **argv)\n{\n\tif (argc > 1)\n\t\treturn argv != 0;\n\treturn 0;\n}\n' >"$TREE/src/a.c"
	printf 'local a = 1\n' >"$TREE/lua/b.lua"
	echo "lua/b.lua:1" >"$TREE/build-coverage/lua-hits.txt"
	(
		cd "$TREE/build-coverage"
		gcc --coverage -c ../src/a.c -o CMakeFiles/x.dir/src/a.c.o
		gcc --coverage CMakeFiles/x.dir/src/a.c.o -o a && ./a
		git -C "$TREE" init -q && git -C "$TREE" add -A
	)
}

@test "74, 75: the report is printed, and a share below the threshold fails" {
	small_tree
	COVERAGE_MIN=75 run "$TREE/scripts/coverage_report"
	echo "$output"
	[ "$status" -eq 0 ]
	has "C: 75.0 % of 4 lines"
	has "Lua: 100.0 % of 1 lines"
	run "$TREE/scripts/coverage_report" # 85 % unless said otherwise
	[ "$status" -eq 1 ]
	has "coverage: C is below 85 %"
	COVERAGE_MIN=101 run "$TREE/scripts/coverage_report"
	[ "$status" -eq 1 ]
	has "coverage: Lua is below 101 %"
}

@test "81: files that no test compiled or loaded count as not reached" {
	small_tree
	mkdir "$TREE/src/new" "$TREE/lua/new"
	printf 'int f(void)\n{\n\treturn 1;\n}\n' >"$TREE/src/new/unseen.c"
	printf 'local x = 1\nreturn x\n' >"$TREE/lua/new/unseen.lua"
	git -C "$TREE" add -A
	COVERAGE_MIN=75 run "$TREE/scripts/coverage_report"
	[ "$status" -eq 1 ]
	has "4 of     4 not reached  src/new"
	has "2 of     2 not reached  lua/new"
}

@test "76, 77, 78: verify is lint and typecheck" {
	plan lint
	[ "${lines[${#lines[@]} - 1]}" = scripts/lint ]
	plan typecheck
	has scripts/typecheck
	plan verify
	has scripts/lint
	has scripts/typecheck
}

@test "76, 77: without words every check runs, each by its name" {
	local script name
	for script in lint typecheck; do
		sed -E 's/^(check|lint)_([a-z]+)\(\) \{/\1_\2() { echo "ran \2"; }; old_\2() {/; /^cd /d' \
			"scripts/$script" >"$BATS_TEST_TMPDIR/$script"
		run bash "$BATS_TEST_TMPDIR/$script"
		[ "$status" -eq 0 ]
		for name in $(sed -nE 's/^(check|lint)_([a-z]+)\(\) \{.*/\2/p' "scripts/$script"); do
			has "ran $name"
		done
	done
	for name in gcc clang cppcheck lua; do
		has "ran $name"
	done
}

@test "77: what gcc or clang refuses fails the whole" {
	local name
	sed 's/^compile() {/compile() { return 1; }; old_compile() {/; /^cd /d' scripts/typecheck >"$BATS_TEST_TMPDIR/typecheck"
	cp .clang-tidy "$BATS_TEST_TMPDIR"
	cd "$BATS_TEST_TMPDIR"
	for name in gcc clang; do
		command -v "$name" >/dev/null || continue
		run bash typecheck "$name"
		[ "$status" -eq 1 ]
		has "typecheck: strict warnings"
	done
}

@test "79: make load-test" {
	plan load-test
	has scripts/load_test
}

@test "bench, fuzz and soak are there" {
	plan bench
	has scripts/bench
	plan fuzz
	has scripts/fuzz
	plan soak
	has scripts/soak
}

@test "80: without Redis the tests that need it say so within seconds" {
	only python3 sh bash env
	for test in cluster_test redis_serve_test; do
		run timeout 30 env PATH="$ONLY" XIN_BINARY=/bin/true python3 "tests/integration/$test.py"
		echo "$output"
		[ "$status" -eq 77 ]
		has redis-server
	done
}

@test "80: without PostgreSQL the tests that need it say so within seconds" {
	[ -d /usr/lib/postgresql ] || mkdir /usr/lib/postgresql 2>/dev/null || skip "no folder to hide"
	unshare --mount true 2>/dev/null || skip "no mount namespace here: PostgreSQL cannot be hidden"
	for test in cluster_test postgres_test; do
		run timeout 30 unshare --mount sh -c "mount -t tmpfs none /usr/lib/postgresql &&
			PATH=/usr/bin:/bin XIN_BINARY=/bin/true exec python3 tests/integration/$test.py"
		echo "$output"
		[ "$status" -eq 77 ]
		has "install the package postgresql"
	done
}

@test "80: packages that are missing are named at once, with the line that installs them" {
	mkdir "$BATS_TEST_TMPDIR/bin"
	printf '#!/bin/sh\n[ "$1" = -u ] && echo 1000\n' >"$BATS_TEST_TMPDIR/bin/id"
	printf '#!/bin/sh\necho "deinstall ok config-files"\n' >"$BATS_TEST_TMPDIR/bin/dpkg-query"
	chmod +x "$BATS_TEST_TMPDIR/bin/"*
	run timeout 30 env PATH="$BATS_TEST_TMPDIR/bin:$PATH" scripts/bootstrap test
	[ "$status" -eq 1 ]
	has "Install these packages first:"
	has "apt-get install --no-install-recommends"
	has " postgresql redis-server "
}
