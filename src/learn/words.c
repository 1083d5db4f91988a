/*
 * words.c
 *		Splits free text into words. Bytes beyond ASCII belong to words, so it serves every server encoding that keeps ASCII
 *		apart; it is no linguistics.
 */
#include "learn/words.h"

/* Letters, digits, and whatever is not ASCII. */
static int
in_word(unsigned char byte)
{
	return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* See words.h. */
size_t
learn_next_word(const char *text, size_t length, size_t *at, char *word)
{
	size_t		used = 0;

	while (*at < length && !in_word((unsigned char) text[*at]))
		(*at)++;
	for (; *at < length && in_word((unsigned char) text[*at]); (*at)++)
	{
		char		byte = text[*at];

		if (used < LEARN_WORD_SIZE - 1)
			word[used++] = byte >= 'A' && byte <= 'Z' ? (char) (byte + 32) : byte;
	}
	return used;
}
