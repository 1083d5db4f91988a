/*
 * lcs.h
 *		The longest common subsequence and the ratio made of it, which the token similarities use. Units are code points.
 *
 * Bit-parallel after Hyyrö (2004); memory for strings beyond a word is one byte a code point of the longer one.
 */
#ifndef SALESOPS_TEXT_LCS_H
#define SALESOPS_TEXT_LCS_H

#include "text/pattern.h"

/* The length of the longest common subsequence. */
extern uint32_t text_lcs(TextWorkspace *workspace, TextView a, TextView b);

/* 1 - (insertions and deletions) / (sum of the lengths); 1 where both are empty. */
extern double text_indel_similarity(TextWorkspace *workspace, TextView a, TextView b);

#endif /* SALESOPS_TEXT_LCS_H */
