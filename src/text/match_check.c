/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Check digits of cards, bank accounts and Iranian national numbers: what
 * tells them from any other row of digits.
 */
#include <string.h>

#include "base/str.h"
#include "text/match_check.h"

#define CLEAN_MAX 48

/* Letters and digits only, upper case; 0 when there are too many. */
static size_t
clean(const char *text, size_t len, char out[CLEAN_MAX])
{
	size_t n = 0, i;

	for (i = 0; i < len; i++) {
		char c = text[i];

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z'))
			continue;
		if (n == CLEAN_MAX)
			return 0;
		out[n++] = c;
	}
	return n;
}

static bool
all_digits(const char *s, size_t n)
{
	while (n-- > 0)
		if (s[n] < '0' || s[n] > '9')
			return false;
	return true;
}

static bool
luhn(const char *s, size_t n)
{
	unsigned sum = 0;
	size_t i;

	if (n < 13 || n > 19 || !all_digits(s, n))
		return false;
	for (i = 0; i < n; i++) {
		unsigned digit = (unsigned)(s[n - 1 - i] - '0');

		if (i % 2 == 1)
			digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
		sum += digit;
	}
	return sum > 0 && sum % 10 == 0;
}

/* The lengths that countries have fixed; others by the remainder alone. */
static bool
iban_length_fits(const char *s, size_t n)
{
	static const struct {
		char country[3];
		unsigned char len;
	} known[] = { { "IR", 26 }, { "DE", 22 }, { "GB", 22 }, { "FR", 27 },
		{ "NL", 18 }, { "AE", 23 }, { "TR", 26 } };
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (memcmp(s, known[i].country, 2) == 0)
			return n == known[i].len;
	return n >= 15 && n <= 34;
}

static bool
iban(const char *s, size_t n)
{
	unsigned rest = 0;
	size_t i;

	if (n < 15 || n > 34 || all_digits(s, 2) || !all_digits(s + 2, 2) ||
	    !iban_length_fits(s, n))
		return false;
	for (i = 0; i < n; i++) {
		char c = s[(i + 4) % n];

		if (c >= 'A')
			rest = (rest * 100 + (unsigned)(c - 'A') + 10) % 97;
		else
			rest = (rest * 10 + (unsigned)(c - '0')) % 97;
	}
	return rest == 1;
}

static bool
ir_national_id(const char *s, size_t n)
{
	unsigned sum = 0, rest, i;

	if (n != 10 || !all_digits(s, n))
		return false;
	for (i = 1; i < 10 && s[i] == s[0]; i++)
		;
	if (i == 10)
		return false;
	for (i = 0; i < 9; i++)
		sum += (unsigned)(s[i] - '0') * (10 - i);
	rest = sum % 11;
	return (unsigned)(s[9] - '0') == (rest < 2 ? rest : 11 - rest);
}

static const struct {
	const char *name;
	bool (*fn)(const char *s, size_t n);
} checks[] = { { "luhn", luhn }, { "iban", iban },
	{ "ir_national_id", ir_national_id } };

bool
match__check_known(const char *check)
{
	size_t i;

	for (i = 0; i < sizeof(checks) / sizeof(*checks); i++)
		if (str_eq(checks[i].name, check))
			return true;
	return false;
}

bool
match__check(const char *check, const char *text, size_t len)
{
	char out[CLEAN_MAX];
	size_t n = clean(text, len, out), i;

	for (i = 0; i < sizeof(checks) / sizeof(*checks); i++)
		if (str_eq(checks[i].name, check))
			return checks[i].fn(out, n);
	return false;
}
