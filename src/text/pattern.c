/*
 * pattern.c
 *		Fills the bit masks of a pattern (pattern.h). What is computed from them is the business of each kernel.
 */
#include <string.h>

#include "text/pattern.h"

/* Set bit i for the code points of a wide view. */
static void
set_wide(TextPattern *pattern, TextView view)
{
	const uint32_t *units = view.units;

	for (uint32_t i = 0; i < view.length; i++)
	{
		uint32_t slot;

		if (units[i] < 256)
		{
			pattern->low[units[i]] |= UINT64_C(1) << i;
			continue;
		}
		slot = text_wide_slot(pattern, units[i]);
		if (pattern->wide_key[slot] == 0)
		{
			pattern->wide_key[slot] = units[i];
			pattern->wide_mask[slot] = 0;
		}
		pattern->wide_mask[slot] |= UINT64_C(1) << i;
	}
}

/* Set bit i for each byte. */
static inline void
set_narrow(TextPattern *pattern, TextView view)
{
	const uint8_t *units = view.units;

	for (uint32_t i = 0; i < view.length; i++)
		pattern->low[units[i]] |= UINT64_C(1) << i;
}

/* Clear the entries below 256 that a wide text will look up. */
static inline void
clear_wide(TextPattern *pattern, TextView text)
{
	const uint32_t *units = text.units;

	for (uint32_t j = 0; j < text.length; j++)
		if (units[j] < 256)
			pattern->low[units[j]] = 0;
}

/* Prepare a string for comparison with many; the masks stay zero where it is longer than a word. */
void
text_pattern_prepare(TextPattern *pattern, TextView view)
{
	memset(pattern, 0, sizeof(*pattern));
	pattern->view = view;
	if (view.length > TEXT_WORD)
		return;
	if (view.wide)
		set_wide(pattern, view);
	else
		set_narrow(pattern, view);
}

/*
 * Prepare for one text. Only the entries that the text will look up are cleared: what others hold from earlier pairs is
 * never read. For names that is a tenth of the table.
 */
void
text_pattern_pair(TextPattern *pattern, TextView view, TextView text)
{
	pattern->view = view;
	if (text.wide)
		clear_wide(pattern, text);
	else
	{
		const uint8_t *units = text.units;

		for (uint32_t j = 0; j < text.length; j++)
			pattern->low[units[j]] = 0;
	}
	if (view.wide)
	{
		memset(pattern->wide_key, 0, sizeof(pattern->wide_key));
		set_wide(pattern, view);
	}
	else
		set_narrow(pattern, view);
}
