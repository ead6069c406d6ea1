-- SPDX-License-Identifier: Apache-2.0
--- From an uploaded document to chunks in the index.
---@class pipeline.standard : xin.Pipeline
return {
  api = 1,
  name = "standard",
  steps = { "extract", "clean", "chunk", "guard", "embed", "index" },
}
