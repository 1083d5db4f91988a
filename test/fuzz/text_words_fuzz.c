/*
 * text_words_fuzz.c
 *		Any bytes as a company's name, an e-mail address and a web address: nothing is read beyond them, and stripping is idempotent.
 */
#include <stdlib.h>
#include <string.h>

#include "text/company.h"
#include "text/email.h"

#include "tap.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                               \
	do                                                                                                                 \
	{                                                                                                                  \
		if (!(condition))                                                                                              \
			abort();                                                                                                   \
	} while (0)

/* Words of the folded form made of bytes; returns the length. */
static size_t
folded(const uint8_t *data, size_t size, char *out)
{
	static const char letters[] = "abcdegiklmoprstvz ";
	size_t length = 0;

	for (size_t i = 0; i < size; i++)
	{
		char c = letters[data[i] % (sizeof(letters) - 1)];

		if (c != ' ' || (length > 0 && out[length - 1] != ' '))
			out[length++] = c;
	}
	while (length > 0 && out[length - 1] == ' ')
		length--;
	return length;
}

/* Stripping a name twice is stripping it once. */
static void
check_company(const uint8_t *data, size_t size)
{
	char *name = malloc(size + 1);
	char *again = malloc(size + 1);
	size_t length = folded(data, size, name);
	size_t stripped = text_company_strip(name, length);

	CHECK(stripped <= length && (stripped > 0 || length == 0));
	memcpy(again, name, stripped);
	CHECK(text_company_strip(again, stripped) == stripped && memcmp(again, name, stripped) == 0);
	free(name);
	free(again);
}

/* Spans stay inside the input. */
static void
check_addresses(const char *bytes, size_t size)
{
	TextSpan text = {bytes, size};
	TextSpan address = text_email_address(text);
	TextSpan host = text_host(text);
	TextSpan local;
	TextSpan domain;
	char copy[TEXT_LOCAL_MAX];

	CHECK(address.bytes >= bytes && address.bytes + address.length <= bytes + size);
	CHECK(host.bytes >= bytes && host.bytes + host.length <= bytes + size);
	(void) text_is_free_mail(host);
	if (text_domain_is_valid(host))
		CHECK(host.length <= TEXT_DOMAIN_MAX);
	if (!text_email_split(address, &local, &domain))
		return;
	CHECK(local.length > 0 && local.length <= TEXT_LOCAL_MAX && domain.length > 0);
	memcpy(copy, local.bytes, local.length);
	CHECK(text_email_canonical(copy, local.length, &domain) <= local.length);
}

/* The whole input serves as each kind of text. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *exact;

	if (size > 4000)
		return 0;
	exact = malloc(size == 0 ? 1 : size);
	memcpy(exact, data, size);
	check_company(data, size);
	check_addresses(exact, size);
	free(exact);
	return 0;
}
