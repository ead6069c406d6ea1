/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a zip file, or as the main part of one: the first byte says
 * which kind of document the part is put into. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "extract/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const parts[] = { "word/document.xml", "word/styles.xml",
	"ppt/slides/slide1.xml", "xl/workbook.xml", "xl/sharedStrings.xml",
	"xl/worksheets/sheet1.xml", "content.xml", "OEBPS/content.opf" };

#define PARTS (sizeof(parts) / sizeof(parts[0]))

/* What a part needs beside it to be reached. */
static const char *const others[][2] = {
	{ "word/document.xml", "<d/>" },
	{ "ppt/presentation.xml", "<p/>" },
	{ "xl/workbook.xml", "<w><sheet name='a' id='r1'/></w>" },
	{ "xl/_rels/workbook.xml.rels",
	    "<r><Relationship Id='r1' Target='worksheets/sheet1.xml'/></r>" },
	{ "META-INF/container.xml",
	    "<c><rootfile full-path='OEBPS/content.opf'/></c>" },
};

static uint32_t
crc32_of(const uint8_t *data, size_t len)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
	}
	return ~crc;
}

static void
add_le(struct buf *out, uint32_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		buf_addc(out, (char)(value >> 8 * i & 0xff));
}

/* The fields that local and central headers share, from "version needed". */
static void
add_fields(struct buf *out, const char *name, const uint8_t *data, size_t len)
{
	add_le(out, 20, 2);
	add_le(out, 0, 8); /* flags, method: stored, time, date */
	add_le(out, crc32_of(data, len), 4);
	add_le(out, (uint32_t)len, 4);
	add_le(out, (uint32_t)len, 4);
	add_le(out, (uint32_t)strlen(name), 2);
	add_le(out, 0, 2);
}

static void
add_entry(struct buf *out, struct buf *central, const char *name,
    const uint8_t *data, size_t len)
{
	uint32_t at = (uint32_t)out->len;

	buf_adds(out, "PK\3\4");
	add_fields(out, name, data, len);
	buf_adds(out, name);
	buf_add(out, data, len);
	buf_adds(central, "PK\1\2");
	add_le(central, 20, 2);
	add_fields(central, name, data, len);
	add_le(central, 0, 4);
	add_le(central, 0, 4);
	add_le(central, 0, 2);
	add_le(central, at, 4);
	buf_adds(central, name);
}

static void
wrap(unsigned kind, const uint8_t *data, size_t len, struct buf *out)
{
	const char *part = parts[kind % PARTS];
	uint32_t count = 1, at;
	struct buf central;

	buf_init(&central, 0);
	add_entry(out, &central, part, data, len);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strncmp(others[i][0], part, 2) != 0 &&
		    !(part[0] == 'O' && others[i][0][0] == 'M'))
			continue;
		if (strcmp(others[i][0], part) == 0)
			continue;
		add_entry(out, &central, others[i][0],
		    (const uint8_t *)others[i][1], strlen(others[i][1]));
		count++;
	}
	at = (uint32_t)out->len;
	buf_add(out, central.data, central.len);
	buf_adds(out, "PK\5\6");
	add_le(out, 0, 4);
	add_le(out, count, 2);
	add_le(out, count, 2);
	add_le(out, (uint32_t)central.len, 4);
	add_le(out, at, 4);
	add_le(out, 0, 2);
	buf_done(&central);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct extract__blocks blocks;
	struct buf file;
	int fd;

	if (len < 2)
		return 0;
	buf_init(&file, 0);
	if (data[0] % (PARTS + 1) == PARTS)
		buf_add(&file, data + 1, len - 1);
	else
		wrap(data[0] % (PARTS + 1), data + 1, len - 1, &file);
	fd = memfd_create("fuzz", 0);
	if (fd < 0 || write(fd, file.data, file.len) != (ssize_t)file.len)
		abort();
	extract__blocks_init(&blocks, 1 << 16);
	extract__zip_document(fd, &blocks);
	extract__blocks_done(&blocks);
	buf_done(&file);
	close(fd);
	return 0;
}
