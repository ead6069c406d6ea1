# SPDX-License-Identifier: Apache-2.0
# xin_embed(out.S files...): an assembly file that carries the files' bytes and
# a table of them (base/embed.h reads it).
function(xin_embed out)
  set(blobs "")
  set(rows "")
  set(n 0)
  set(deps "")
  foreach(file ${ARGN})
    set(path ${CMAKE_SOURCE_DIR}/${file})
    list(APPEND deps ${path})
    string(APPEND blobs
      ".balign 16\nblob${n}: .incbin \"${path}\"\nend${n}: .byte 0\n"
      "name${n}: .asciz \"${file}\"\n")
    string(APPEND rows ".quad name${n}, blob${n}, end${n} - blob${n}\n")
    math(EXPR n "${n} + 1")
  endforeach()
  file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
".section .rodata
${blobs}
.section .data.rel.ro,\"aw\"
.balign 8
.globl embed_table
.hidden embed_table
embed_table:
${rows}
.quad 0, 0, 0
.section .note.GNU-stack,\"\",%progbits
")
  set_source_files_properties(${out} PROPERTIES OBJECT_DEPENDS "${deps}")
endfunction()
