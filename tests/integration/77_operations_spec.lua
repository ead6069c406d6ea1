-- SPDX-License-Identifier: Apache-2.0
--- What operators run beside a service: its health as an exit code, and a copy
--- of its data folder (backup_test.py restores one).
local xin = require("xin")

describe("beside a service", function()
  local server
  setup(function()
    server = xin.new():start()
    server:ready("default", "hours.md", "# Hours\n\nWe open at nine.")
  end)
  teardown(function() server:stop() end)

  --- One command on the server's data folder: what it said, and its exit code.
  local function run(words, settings)
    local text = xin.shell(("cd '%s' && env -i PATH=\"$PATH\" XIN_DATA_DIR='%s/data' %s '%s' %s 2>&1; echo $?")
      :format(server.home, server.home, settings or "", xin.binary, words))
    return text:match("^(.-)%s*(%d+)$")
  end

  it("tells health as an exit code", function()
    local said, code = run("health http://127.0.0.1:" .. server.ports.orchestrator)
    assert.equal("0", code, said)
    assert.matches('"status":"ok"', said, 1, true)
    said, code = run("health http://127.0.0.1:" .. server.ports.gateway)
    assert.equal("0", code, said)
    said, code = run("health http://127.0.0.1:1")
    assert.equal("1", code, said)
    said, code = run("health one two")
    assert.equal("2", code)
    assert.matches("usage", said)
  end)

  it("copies the data folder while it serves, once under a name", function()
    local said, code = run("backup kept")
    assert.equal("0", code, said)
    assert.matches("the database and 1 objects", said, 1, true)
    assert.is_not_nil(xin.read(server.home .. "/kept/xin.db"))
    said, code = run("backup kept")
    assert.equal("1", code)
    assert.matches("new or an empty folder", said, 1, true)
  end)

  it("leaves nothing that looks like a copy and is none", function()
    xin.shell("mkdir '" .. server.home .. "/half.partial'")
    local said, code = run("backup half")
    assert.equal("1", code)
    assert.matches("did not end", said, 1, true)
    said, code = run("backup other", "XIN_DATA_DIR=nowhere")
    assert.equal("1", code)
    assert.matches("there is no database", said, 1, true)
    said, code = run("backup a b")
    assert.equal("2", code)
    assert.matches("usage", said)
  end)

  it("sends those with a database server to its own tool", function()
    local said, code = run("backup other", "XIN_STORE_URL=postgres://h/db")
    assert.equal("1", code)
    assert.matches("pg_dump", said, 1, true)
  end)

  it("says where the objects are when a service has them", function()
    local said, code = run("backup bare", "STORAGE_ENDPOINT_URL=http://s STORAGE_ACCESS_KEY=k "
      .. "STORAGE_SECRET_KEY=s STORAGE_REGION=r STORAGE_BUCKET=b")
    assert.equal("0", code, said)
    assert.matches("storage service", said, 1, true)
    assert.is_nil(xin.read(server.home .. "/bare/objects"))
  end)
end)
