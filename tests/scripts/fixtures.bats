#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The recorded webhooks of `make test-contract` can fail (item 73).

load helper

setup() {
	cd "$ROOT" || exit 1
	for binary in build-debug/xin build/xin; do
		[ ! -x "$binary" ] || break
	done
	[ -x "$binary" ] || skip "no xin is built"
	command -v busted >/dev/null || skip "busted cannot be had"
	export XIN_BINARY=$binary XIN_FIXTURES=$BATS_TEST_TMPDIR/fixtures
	cp -r tests/contract/fixtures "$XIN_FIXTURES"
}

recordings() {
	run busted --lpath='tests/support/?.lua' --pattern=_spec tests/contract
}

change() { # file, Python that changes `fixture`
	/usr/bin/python3 - "$XIN_FIXTURES/webchat/$1.json" "$2" <<-'PY'
		import json, sys
		fixture = json.load(open(sys.argv[1]))
		exec(sys.argv[2])
		json.dump(fixture, open(sys.argv[1], "w"))
	PY
}

@test "73: the recorded webhooks are as they were" {
	recordings
	echo "$output"
	[ "$status" -eq 0 ]
	has "0 failures / 0 errors"
}

@test "73: a changed fixture fails, whatever part of it changed" {
	change a_message 'fixture["request"]["body"] = fixture["request"]["body"].replace("order", "0rder")'
	change attachments 'fixture["parsed"]["messages"][0]["text"] = "see"'
	change numbers_as_ids 'fixture["answer"]["body"]["message_id"] = "913"'
	change text_is_missing 'fixture["error"]["reason"] = "no text"'
	change wrong_secret 'fixture["answer"]["status"] = 403'
	recordings
	[ "$status" -ne 0 ]
	for name in "a_message is parsed" "a_message is answered" "attachments is parsed" \
		"numbers_as_ids is answered" "text_is_missing is parsed" "wrong_secret is answered"; do
		has "webchat: $name"
	done
	has "6 failures / 0 errors"
}

@test "73: a channel without recordings fails" {
	rm -r "$XIN_FIXTURES/webchat"
	mkdir "$XIN_FIXTURES/other"
	recordings
	[ "$status" -ne 0 ]
	has "webchat has too few recordings"
}

@test "73: make test-contract runs them" {
	run make -n test-contract
	[ "$status" -eq 0 ]
	has "scripts/run_tests contract"
	[ -x build-debug/xin ] || skip "no debug build" # that is what the suite runs
	mkdir "$BATS_TEST_TMPDIR/bin"
	for tool in cmake ninja ctest; do
		ln -s /bin/true "$BATS_TEST_TMPDIR/bin/$tool"
	done
	change wrong_secret 'fixture["answer"]["status"] = 403'
	PATH=$BATS_TEST_TMPDIR/bin:$PATH run scripts/run_tests contract
	[ "$status" -eq 1 ]
	has "webchat: wrong_secret is answered"
}
