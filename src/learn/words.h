/*
 * words.h
 *		A text's words, for columns of free text such as job titles: letters and digits, ASCII letters in lower case.
 */
#ifndef SALESOPS_LEARN_WORDS_H
#define SALESOPS_LEARN_WORDS_H

#include <stddef.h>

#define LEARN_WORD_SIZE 48

/* The next word from *at on into `word` (longer ones are cut, without a closing zero); its length, 0 at the end. */
extern size_t learn_next_word(const char *text, size_t length, size_t *at, char *word);

#endif							/* SALESOPS_LEARN_WORDS_H */
