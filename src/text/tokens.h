/*
 * tokens.h
 *		Similarity of strings as sets or sorted lists of words, as the field's fuzzy matchers define it. Results in [0, 1].
 *
 * Words are what Unicode white space separates; letter case and punctuation count (normalise first).
 */
#ifndef SALESOPS_TEXT_TOKENS_H
#define SALESOPS_TEXT_TOKENS_H

#include "text/lcs.h"

/* A string's words in code point order; they point into the caller's view. */
typedef struct TextTokens
{
	TextView *token;
	uint32_t count;
	uint32_t joined; /* units of all words with one blank between each two */
} TextTokens;

/*
 * Split and sort; distinct drops repeated words. The array comes from the workspace's allocator: release token, or the
 * memory context. Prepare once to compare with many.
 */
extern TextTokens text_tokens(TextWorkspace *workspace, TextView view, bool distinct);

/* Indel similarity of the sorted words joined by blanks; tokens not distinct. */
extern double text_token_sort_prepared(TextWorkspace *workspace, const TextTokens *a, const TextTokens *b);

/*
 * The best of: common words against common and own ones of either side, and the own words against each other; 1 where the
 * words of one are all in the other; 0 where either has no word. Tokens distinct.
 */
extern double text_token_set_prepared(TextWorkspace *workspace, const TextTokens *a, const TextTokens *b);

/* The same for one pair. */
extern double text_token_sort(TextWorkspace *workspace, TextView a, TextView b);
extern double text_token_set(TextWorkspace *workspace, TextView a, TextView b);

#endif /* SALESOPS_TEXT_TOKENS_H */
