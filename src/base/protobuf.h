/* SPDX-License-Identifier: Apache-2.0 */
#ifndef XIN_BASE_PROTOBUF_H
#define XIN_BASE_PROTOBUF_H

#include <stdint.h>
#include <string.h>

/*
 * Writing of proto3 (https://protobuf.dev/programming-guides/encoding/): each
 * function puts its bytes at `p` and returns the end. The caller has made room.
 */
#define PB_VARINT_MAX 10
enum pb_wire { PB_VARINT = 0, PB_64 = 1, PB_BYTES = 2, PB_32 = 5 };

static inline size_t
pb_varint_size(uint64_t value)
{
	size_t size = 1;

	for (; value >= 0x80; value >>= 7)
		size++;
	return size;
}

static inline uint8_t *
pb_varint(uint8_t *p, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*p++ = (uint8_t)(value | 0x80);
	*p++ = (uint8_t)value;
	return p;
}

static inline uint8_t *
pb_tag(uint8_t *p, unsigned field, enum pb_wire wire)
{
	return pb_varint(p, (uint64_t)field << 3 | wire);
}

static inline uint8_t *
pb_uint(uint8_t *p, unsigned field, uint64_t value)
{
	return pb_varint(pb_tag(p, field, PB_VARINT), value);
}

static inline uint8_t *
pb_fixed64(uint8_t *p, unsigned field, uint64_t value)
{
	p = pb_tag(p, field, PB_64);
	for (int i = 0; i < 8; i++)
		*p++ = (uint8_t)(value >> (8 * i));
	return p;
}

static inline uint8_t *
pb_fixed32(uint8_t *p, unsigned field, uint32_t value)
{
	p = pb_tag(p, field, PB_32);
	for (int i = 0; i < 4; i++)
		*p++ = (uint8_t)(value >> (8 * i));
	return p;
}

static inline uint8_t *
pb_bytes(uint8_t *p, unsigned field, const void *data, size_t len)
{
	p = pb_varint(pb_tag(p, field, PB_BYTES), len);
	memcpy(p, data, len);
	return p + len;
}

#endif
