#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Each gate fails when it should: a violation planted in a copy of the tree is
# found and named. The copy is clean before and after each test.

load helper

setup_file() {
	ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export TREE=$BATS_FILE_TMPDIR/tree
	mkdir "$TREE"
	(cd "$ROOT" && git ls-files -z | xargs -0 tar -cf - 2>/dev/null) | tar -xf - -C "$TREE"
	cd "$TREE" || return 1
	git init -q
	git add -A
	git -c user.name=x -c user.email=x@localhost commit -qm tree
}

setup() { cd "$TREE" || exit 1; }

teardown() {
	git -C "$TREE" reset -q --hard
	git -C "$TREE" clean -fdq
}

tool() { command -v "$1" >/dev/null || skip "$1 cannot be had"; }

# The planted file is known to git, as what is to be committed is.
fails() { # words that must be in the output... -- command...
	local words=()
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	shift
	git add -A
	run "$@"
	[ "$status" -ne 0 ] || { echo "passed: $*"; return 1; }
	for word in "${words[@]}"; do
		has "$word"
	done
}

@test "76: the copy is clean: the checks below find what is planted and nothing else" {
	run scripts/lint layers prefixes sizes spdx hidden documents events reference
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "76: format" {
	tool clang-format
	printf 'int planted( void );\n' >>src/base/buf.h
	fails "lint: format" buf.h -- scripts/lint format
}

@test "76: layers: an include that goes upward, a vendor header in the wrong folder" {
	echo '#include "domain/turn.h"' >>src/base/buf.c
	fails "goes upward" -- scripts/lint layers
	git checkout -q HEAD src && echo '#include <uv.h>' >>src/base/buf.c
	fails "belongs to fiber" -- scripts/lint layers
}

@test "76: prefixes: a name of nobody, and another folder's private one" {
	printf '\nvoid\nplanted(void)\n{\n}\n' >>src/base/buf.c
	fails "planted has none of the prefixes of base" -- scripts/lint prefixes
	git checkout -q HEAD src && printf '\nstatic void\nf(void)\n{\n\tstore__check_limit(1);\n}\n' >>src/base/buf.c
	fails "store__ is private to another folder" -- scripts/lint prefixes
}

@test "76: sizes: a function of 61 lines, a Lua module of 201" {
	{ printf '\nstatic void\nlong_one(void)\n{\n'; for _ in $(seq 58); do printf '\t;\n'; done; printf '}\n'; } >>src/base/clock.c
	fails "61 lines: long_one" -- scripts/lint sizes
	git checkout -q HEAD src && seq 201 | sed 's/^/-- /' >lua/lib/planted.lua
	fails "lua/lib/planted.lua: too many lines" -- scripts/lint sizes
}

@test "76: a file without its SPDX line" {
	printf '/* a */\n\nint planted;\n' >src/base/planted.c
	fails "src/base/planted.c: no SPDX line" -- scripts/lint spdx
}

@test "81: marks that hide lines from coverage" {
	echo '/* GCOVR_EXCL_START */' >>src/base/buf.c # as in no file of ours
	fails "src/base/buf.c" "lint: hidden" -- scripts/lint hidden
	git checkout -q HEAD src && echo '-- luacov: disable' >>lua/lib/verdict.lua
	fails "lua/lib/verdict.lua" -- scripts/lint hidden
}

@test "76: luacheck: a global, an unused name" {
	tool luacheck
	echo 'planted = 1' >>lua/lib/verdict.lua
	fails planted "lint: luacheck" -- scripts/lint luacheck
}

@test "76: shellcheck" {
	tool shellcheck
	printf '#!/bin/sh\nfor f in $(ls); do rm $UNSET/$f; done\ncd nowhere\n' >scripts/planted
	fails SC2164 "lint: shellcheck" -- scripts/lint shellcheck
}

@test "76: yamllint" {
	tool yamllint
	printf 'a: 1\na: 2\n' >deploy/planted.yaml
	fails "deploy/planted.yaml" "duplication of key" -- scripts/lint yamllint
}

@test "76: an event that is in no table" {
	printf '\nvoid\nbuf_planted(void)\n{\n\tlog_info("buf.planted");\n}\n' >>src/base/buf.c
	fails "not in src/base/events.def: buf.planted" -- scripts/lint events
}

@test "76, 107: a dead link, a dead anchor" {
	printf '\n[gone](docs/gone.md)\n[far](docs/runbook.md#planted)\n' >>README.md
	fails "docs/gone.md: no such file" "docs/runbook.md#planted: no such heading" -- scripts/lint documents
}

@test "107: documents that name what is not there" {
	printf '\nSet `XIN_PLANTED` and look at `xin_planted_total`, `make planted`, `scripts/planted`.\n' >>docs/runbook.md
	fails "XIN_PLANTED is no setting" "xin_planted_total is no metric" \
		"make planted is no target" "scripts/planted does not exist" -- scripts/lint documents
}

@test "107: infrastructure that the documents do not follow" {
	sed -i 's/alert: XinLatency$/alert: XinPlanted/' deploy/prometheus/alerts.yml
	sed -i 's/"GATEWAY_METRICS_PORT", "9102"/"GATEWAY_METRICS_PORT", "9177"/' src/base/config.def
	fails "XinPlanted has no page" "XinLatency.md: there is no such alert" "port 9177 is not named" -- scripts/lint documents
	fails "docs/reference.md is not what the tables say" -- scripts/lint reference
}

@test "77: a name of xin.* that the host does not have" {
	printf 'return function() return xin.text.planted("a") end\n' >lua/lib/planted.lua
	fails "xin.text.planted is not in lua/meta/xin.lua" -- scripts/check_lua_names
	printf -- '---@type xin.Planted\nreturn {}\n' >lua/lib/planted.lua
	fails "xin.Planted is no class" -- scripts/check_lua_names
}

@test "77: an argument of the wrong type in Lua" {
	tool_path=$ROOT/build-tools/bin/emmylua_check # built by make typecheck
	[ -x "$tool_path" ] || skip "emmylua_check is not built here"
	mkdir -p build-tools/bin && ln -s "$tool_path" build-tools/bin/emmylua_check
	printf 'return require("lib.language").say(5, "en")\n' >lua/lib/planted.lua
	fails "lib/planted.lua" "annotations of lua/" -- scripts/typecheck lua
}

# One folder of the tree and CMake's options of the strict build: the planted
# file is the only one that is compiled.
strict() { # preset source
	cmake --preset "$1" >/dev/null
	run ninja -C "build-$1" "CMakeFiles/xin_core.dir/$2.o"
	[ "$status" -ne 0 ] || { echo "compiled: $2"; return 1; }
}

plant() { # code
	printf '/* SPDX-License-Identifier: Apache-2.0 */\n#include <stdio.h>\n\nint clock_planted(long n);\n\nint\nclock_planted(long n)\n{\n%s\n}\n' "$1" >src/base/clock_planted.c
}

@test "77: a value that loses bits (strict warnings of gcc and clang)" {
	plant '	return n;'
	strict strict-gcc src/base/clock_planted.c
	has Wconversion
	tool clang
	strict strict-clang src/base/clock_planted.c
	has shorten-64-to-32
}

@test "77: a file that stays open (gcc's analyzer)" {
	plant '	FILE *f = fopen("/dev/null", "re");

	return f != NULL && n > 3;'
	strict strict-gcc src/base/clock_planted.c
	has analyzer-file-leak
}

@test "77: a macro argument without its brackets (clang-tidy)" {
	tool clang-tidy
	plant '#define TWICE(x) x + x
	return (int)(TWICE(n) * 2);'
	strict strict-clang src/base/clock_planted.c
	has bugprone-macro-parentheses
}

@test "77: an index beyond the array (cppcheck)" {
	tool cppcheck
	plant '	char a[4] = { 0 };

	return n > 0 ? a[4] : 0;'
	cmake --preset strict-gcc >/dev/null
	/usr/bin/python3 - <<-'PY'
		import json
		name = "build-strict-gcc/compile_commands.json"
		mine = [e for e in json.load(open(name)) if e["file"].endswith("planted.c")]
		json.dump(mine, open(name, "w"))
	PY
	# The script configures again: what it would look at is only the planted file.
	printf '#!/bin/sh\n' >"$BATS_TEST_TMPDIR/cmake"
	chmod +x "$BATS_TEST_TMPDIR/cmake"
	PATH=$BATS_TEST_TMPDIR:$PATH fails arrayIndexOutOfBounds "typecheck: cppcheck" -- scripts/typecheck cppcheck
}
