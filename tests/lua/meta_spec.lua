-- SPDX-License-Identifier: Apache-2.0
--- The annotations are Lua that loads, and the stand-in of the host under
--- busted has no function that the host does not have.
local function annotated()
  local env = { xin = {} }
  assert(loadfile("lua/meta/xin.lua", "t", env))()
  return env.xin
end

describe("the annotations of xin.*", function()
  it("declare functions only, in groups", function()
    for group, functions in pairs(annotated()) do
      for name, value in pairs(functions) do
        assert.equal("function", type(value), group .. "." .. name)
        assert.is_nil(value("an argument", {}, {}))
      end
    end
  end)

  it("have every function of the stand-in", function()
    local known = annotated()
    for group, functions in pairs(xin) do
      local is_host = group ~= "plain" -- what a spec tells the stand-in
      for name, value in pairs(is_host and functions or {}) do
        if type(value) == "function" then
          assert.is_table(known[group], group)
          assert.is_function(known[group][name], group .. "." .. name)
        end
      end
    end
  end)
end)
