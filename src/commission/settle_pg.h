/*
 * settle_pg.h
 *		Settling one account: its terms, and its lines.
 */
#ifndef SALESOPS_COMMISSION_SETTLE_PG_H
#define SALESOPS_COMMISSION_SETTLE_PG_H

#include "postgres.h"

#include "nodes/execnodes.h"

#include "commission/account_pg.h"
#include "commission/credits_pg.h"
#include "commission/ledger_pg.h"

/* The terms of an account: quota, share of the period, gate. Error 22023 where a quota is needed and there is none. */
extern void settle_terms(const Calculation *calculation, const CreditAccount *account, AccountTerms *terms);

/*
 * Compute an account's lines and write them (not where writer is NULL: then it is computed from scratch). Returns what the
 * account comes to without draws, in minor units of *exponent digits; where nothing changed it is not computed: 0.
 */
extern CommissionInt settle_account(Calculation *calculation, CreditAccount *account, LedgerWriter *writer, int *exponent);

/* Whether the ledger holds an account whose credits were not kept just as it is now: a matter of fingerprints */
extern bool settle_is_unchanged(Calculation *calculation, CreditAccount *account);

/* What the ledger pays with the period, and how many lines from first_new on were added, as rows (statement_pg.c) */
extern void statement_return(ReturnSetInfo *rsinfo, const Calculation *calculation, int64 first_new);

#endif							/* SALESOPS_COMMISSION_SETTLE_PG_H */
