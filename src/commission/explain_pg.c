/*
 * explain_pg.c
 *		explain_commission: a line's amount, recomputed step by step from what the line and its posting carry.
 *
 * Nothing is looked up but the line, its posting and that version of the plan; the ledger's hash covers the inputs, so the
 * explanation is as trustworthy as the amount. It reads as the caller: who may not see a line is told that there is none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "commission/account_pg.h"
#include "commission/ledger_pg.h"
#include "core/spi.h"

PG_FUNCTION_INFO_V1(salesops_explain_commission);

/* A line with its posting */
typedef struct Explained
{
	ReturnSetInfo *rsinfo;
	int			step;
	StringInfoData sentence;	/* the slices, as they gather */
	int			slices;
	int64		line_id;
	char	   *credit_id;
	char		kind;
	int			component;
	Numeric		amount;
	Numeric		before;
	Numeric		after;
	Numeric		total_before;
	CreditSource source;
	char	   *source_text;	/* how the credited amount came about, for the sentence; or NULL */
	int64		corrects;
	char	   *credited_on;
	char	   *rep_id;
	char	   *plan;
	int			version;
	char	   *period;
	char	   *for_period;
	char	   *currency;
	int			purpose;
	AccountTerms terms;
	PlanDefinition *definition;
} Explained;

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* A numeric column of the row found, NULL where it is */
static Numeric
numeric_column(int column)
{
	bool		isnull;
	Datum		value = spi_get_datum(0, column, &isnull);

	return isnull ? NULL : DatumGetNumericCopy(value);
}

/* The row's columns into the struct; called in the caller's memory context */
static void
take_columns(Explained *line)
{
	Problems	problems;
	bool		isnull;
	Numeric		share;

	line->credit_id = spi_get_text(0, 1);
	line->kind = DatumGetChar(spi_get_datum(0, 2, &isnull));
	line->component = DatumGetInt16(spi_get_datum(0, 3, &isnull));
	line->amount = numeric_column(4);
	line->before = numeric_column(5);
	line->after = numeric_column(6);
	line->total_before = numeric_column(7);
	line->corrects = spi_get_int8(0, 8);
	line->credited_on = spi_get_text(0, 9);
	line->rep_id = spi_get_text(0, 10);
	line->plan = spi_get_text(0, 11);
	line->version = DatumGetInt32(spi_get_datum(0, 12, &isnull));
	line->period = spi_get_text(0, 13);
	line->for_period = spi_get_text(0, 14);
	line->currency = spi_get_text(0, 15);
	line->purpose = DatumGetInt16(spi_get_datum(0, 16, &isnull));
	line->terms.quota = numeric_column(17);
	share = numeric_column(18);
	line->terms.share = decimal_compare(share, decimal_integer(1)) == 0 ? NULL : share;
	line->terms.gate = numeric_column(19);
	line->terms.orphaned = decimal_is_zero(share);
	problems_init(&problems);
	line->definition = plan_parse(DatumGetJsonbPCopy(spi_get_datum(0, 20, &isnull)), &problems);
	line->source.amount = numeric_column(21);
	line->source.split = numeric_column(22);
	line->source.factor = numeric_column(23);
	line->source.rate = numeric_column(24);
	line->source.currency = spi_get_text(0, 25);
	line->terms.plan = line->definition;
	line->terms.exponent = commission_currency_exponent(line->currency);
	if (line->terms.orphaned)
		line->terms.flat_rate = decimal_zero();
	else if (line->purpose != PURPOSE_CREDIT)
	{
		line->terms.flat_rate = line->purpose == PURPOSE_OVERRIDE ? line->definition->override_rate : decimal_zero();
		line->terms.by_level = line->purpose == PURPOSE_OVERRIDE && line->definition->override_rates != NULL;
	}
}

/* Find the line as the caller. */
static void
read_line(Explained *line)
{
	MemoryContext context = CurrentMemoryContext;
	SpiScope	scope;

	spi_open(&scope, SPI_AS_CALLER);
	if (spi_execute(SPI_OK_SELECT,
					"SELECT e.credit_id, e.kind, e.component, e.amount, e.cumulated_before, e.cumulated_after, e.total_before, "
					"coalesce(e.corrects, 0), pg_catalog.to_char(e.credited_on::pg_catalog.timestamp, 'YYYY-MM-DD'), p.rep_id, p.plan, p.plan_version, "
					"pg_catalog.to_char(pg_catalog.lower(p.period)::pg_catalog.timestamp, '[YYYY-MM-DD,') OPERATOR(pg_catalog.||) "
					"pg_catalog.to_char(pg_catalog.upper(p.period)::pg_catalog.timestamp, 'YYYY-MM-DD)'), "
					"pg_catalog.to_char(pg_catalog.lower(p.for_period)::pg_catalog.timestamp, '[YYYY-MM-DD,') OPERATOR(pg_catalog.||) "
					"pg_catalog.to_char(pg_catalog.upper(p.for_period)::pg_catalog.timestamp, 'YYYY-MM-DD)'), p.currency, p.purpose, p.quota, p.share, p.gate, d.definition, "
					"e.source_amount, e.split, e.factor, e.exchange_rate, e.source_currency "
					"FROM salesops.commission_entry e JOIN salesops.commission_posting p ON p.posting_id OPERATOR(pg_catalog.=) e.posting_id "
					"JOIN salesops.commission_plan d ON d.plan OPERATOR(pg_catalog.=) p.plan AND d.version OPERATOR(pg_catalog.=) p.plan_version "
					"WHERE e.line_id OPERATOR(pg_catalog.=) $1", 1, (SpiArg[]) {spi_int8(line->line_id)}) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("commission line " INT64_FORMAT " does not exist", line->line_id),
				 errhint("The view salesops.commission_line lists the lines that you may see.")));
	MemoryContextSwitchTo(context);
	take_columns(line);
	spi_close(&scope);
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

/* One row of the answer; NULL numbers stay NULL */
static void
put_row(Explained *line, const char *item, Numeric from, Numeric to, Numeric rate, Numeric amount, const char *detail)
{
	Datum		values[7];
	bool		nulls[7] = {false};
	Numeric		numbers[4] = {from, to, rate, amount};

	values[0] = Int32GetDatum(++line->step);
	values[1] = CStringGetTextDatum(item);
	for (int i = 0; i < 4; i++)
	{
		values[i + 2] = NumericGetDatum(numbers[i]);
		nulls[i + 2] = numbers[i] == NULL;
	}
	values[6] = CStringGetTextDatum(detail);
	tuplestore_putvalues(line->rsinfo->setResult, line->rsinfo->setDesc, values, nulls);
}

/* Without zeros at the end */
static Numeric
trimmed(Numeric value)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value)));
}

/* A rate as a percentage */
static char *
percent(Numeric rate)
{
	return psprintf("%s %%", decimal_text(trimmed(decimal_round(decimal_mul(rate, decimal_integer(100)), 6))));
}

/* Money as the currency writes it, or with as many digits as it has */
static char *
money_text(const Explained *line, Numeric value)
{
	Numeric		rounded = decimal_round(value, line->terms.exponent);

	return decimal_text(decimal_compare(rounded, value) == 0 ? rounded : trimmed(value));
}

/* A value of F in money: the divisor taken out */
static Numeric
as_money(const RunningAccount *account, Numeric value)
{
	return account->divisor ? decimal_div(value, account->divisor) : value;
}

/* One slice of the way from before to after */
static void
slice_row(Explained *line, const RunningAccount *account, Numeric from, Numeric to, const NumericPiece *piece)
{
	Numeric		length = decimal_sub(to, from);
	Numeric		amount = as_money(account, decimal_mul(length, piece->rate));
	Numeric		rate = trimmed(as_money(account, piece->rate));
	char	   *detail = psprintf("%s at %s = %s", money_text(line, length), percent(rate), money_text(line, amount));

	put_row(line, "tier", from, to, rate, amount, detail);
	appendStringInfo(&line->sentence, "%s%s", line->slices++ > 0 ? ", " : "", detail);
}

/* A jump of F where a retroactive tier, a cliff or a gate is reached (or lost) */
static void
jump_row(Explained *line, const RunningAccount *account, const NumericTiers *tiers, int piece, bool up)
{
	NumericTiers below = {piece, tiers->pieces};
	Numeric		at = tiers->pieces[piece].from;
	Numeric		jump = decimal_sub(tiers->pieces[piece].base, plan_cumulative(&below, at));
	char	   *detail;

	if (!up)
		jump = decimal_sub(decimal_zero(), jump);
	if (decimal_is_zero(jump))
		return;
	jump = as_money(account, jump);
	detail = psprintf("%s %s = %s", up ? "reaching" : "falling below", money_text(line, at), money_text(line, jump));
	put_row(line, "threshold", at, at, NULL, jump, detail);
	appendStringInfo(&line->sentence, "%s%s", line->slices++ > 0 ? ", " : "", detail);
}

/* All slices and jumps between two sums, upwards */
static void
slices_up(Explained *line, const RunningAccount *account, const NumericTiers *tiers, Numeric from, Numeric to)
{
	for (int piece = plan_piece(tiers, from); piece < tiers->count; piece++)
	{
		bool		last = piece + 1 == tiers->count || decimal_compare(tiers->pieces[piece + 1].from, to) > 0;
		Numeric		end = last ? to : tiers->pieces[piece + 1].from;

		if (decimal_compare(end, from) != 0)
			slice_row(line, account, from, end, &tiers->pieces[piece]);
		if (last)
			break;
		jump_row(line, account, tiers, piece + 1, true);
		from = end;
	}
}

/* The same downwards: what a smaller sum gives back */
static void
slices_down(Explained *line, const RunningAccount *account, const NumericTiers *tiers, Numeric from, Numeric to)
{
	for (int piece = plan_piece(tiers, from); piece >= 0; piece--)
	{
		bool		last = piece == 0 || decimal_compare(tiers->pieces[piece].from, to) <= 0;
		Numeric		end = last ? to : tiers->pieces[piece].from;

		if (decimal_compare(end, from) != 0)
			slice_row(line, account, from, end, &tiers->pieces[piece]);
		if (last)
			break;
		jump_row(line, account, tiers, piece, false);
		from = end;
	}
}

/* What a credit's commission was held to by the deal's limits; the value, unrounded */
static Numeric
deal_limits(Explained *line, const RunningAccount *account, Numeric commission)
{
	const char *limit = NULL;
	Numeric		held = commission;
	Numeric		lowest = account->deal_cap ? decimal_sub(decimal_zero(), account->deal_cap) : NULL;

	if (account->deal_floor && decimal_compare(line->after, line->before) >= 0 &&
		decimal_compare(held, account->deal_floor) < 0)
	{
		limit = "deal floor";
		held = account->deal_floor;
	}
	if (account->deal_cap && decimal_compare(held, account->deal_cap) > 0)
	{
		limit = "deal cap";
		held = account->deal_cap;
	}
	if (lowest && decimal_compare(held, lowest) < 0)
	{
		limit = "deal cap";
		held = lowest;
	}
	if (limit == NULL)
		return held;
	put_row(line, limit, NULL, NULL, NULL, as_money(account, held),
			psprintf("the %s holds it at %s instead of %s", limit, money_text(line, as_money(account, held)),
					 money_text(line, as_money(account, commission))));
	appendStringInfo(&line->sentence, ", held at %s by the %s", money_text(line, as_money(account, held)), limit);
	return held;
}

/* The period's cap on a total, unrounded */
static Numeric
capped_total(const RunningAccount *account, Numeric total)
{
	return account->cap && decimal_compare(total, account->cap) > 0 ? account->cap : total;
}

/* Cap of the period, rounding of both totals: how the line's amount follows */
static void
total_rows(Explained *line, const RunningAccount *account, Numeric total_before, Numeric total_after)
{
	Numeric		before = as_money(account, capped_total(account, total_before));
	Numeric		after = as_money(account, capped_total(account, total_after));
	int			digits = line->terms.exponent;

	if (account->cap && decimal_compare(total_after, account->cap) > 0)
	{
		put_row(line, "period cap", NULL, NULL, NULL, as_money(account, account->cap),
				psprintf("the period's cap holds the total at %s instead of %s", money_text(line, as_money(account, account->cap)),
						 money_text(line, as_money(account, total_after))));
		appendStringInfo(&line->sentence, ", the period's cap of %s reached", money_text(line, as_money(account, account->cap)));
	}
	put_row(line, "rounding", before, after, NULL, line->amount,
			psprintf("commission of the period in all: %s before, %s after; %s - %s = %s",
					 money_text(line, before), money_text(line, after),
					 decimal_text(decimal_round(after, digits)), decimal_text(decimal_round(before, digits)),
					 decimal_text(line->amount)));
}

/* A deal that goes through the tiers by itself: from 0 to its size, or back for a refund; what it earns, unrounded */
static Numeric
deal_slices(Explained *line, const RunningAccount *account, const NumericTiers *tiers)
{
	Numeric		size = decimal_sub(line->after, line->before);

	if (!decimal_is_negative(size))
		slices_up(line, account, tiers, decimal_zero(), size);
	else
		slices_down(line, account, tiers, decimal_sub(decimal_zero(), size), decimal_zero());
	return account_deal_value(tiers, size);
}

/* A credit's line that follows from F */
static void
explain_by_tiers(Explained *line, RunningAccount *account)
{
	int			component = line->component < account->ncomponents ? line->component : 0;
	const NumericTiers *tiers = &account->tiers[component];
	Numeric		commission = decimal_sub(plan_cumulative(tiers, line->after), plan_cumulative(tiers, line->before));
	Numeric		total = line->total_before ? line->total_before : plan_cumulative(tiers, line->before);

	if (account->by_deal)
		commission = deal_slices(line, account, tiers);
	else if (decimal_compare(line->after, line->before) >= 0)
		slices_up(line, account, tiers, line->before, line->after);
	else
		slices_down(line, account, tiers, line->before, line->after);
	commission = deal_limits(line, account, commission);
	total_rows(line, account, total, decimal_add(total, commission));
}

/* Sums of the account's components before the line: of the lines before it in the ledger */
static void
restore_sums(const Explained *line, RunningAccount *account)
{
	MemoryContext context = CurrentMemoryContext;
	SpiScope	scope;
	uint64		rows;

	spi_open(&scope, SPI_AS_CALLER);
	rows = spi_execute(SPI_OK_SELECT,
					   "SELECT e.component, pg_catalog.sum(e.cumulated_after OPERATOR(pg_catalog.-) e.cumulated_before) "
					   "FROM salesops.commission_posting o "
					   "JOIN salesops.commission_posting p ON p.rep_id OPERATOR(pg_catalog.=) o.rep_id AND p.plan OPERATOR(pg_catalog.=) o.plan "
					   "AND p.for_period OPERATOR(pg_catalog.=) o.for_period AND p.currency OPERATOR(pg_catalog.=) o.currency "
					   "AND p.purpose OPERATOR(pg_catalog.=) o.purpose AND p.posting_id OPERATOR(pg_catalog.<=) o.posting_id "
					   "JOIN salesops.commission_entry e ON e.line_id OPERATOR(pg_catalog.>=) p.first_line "
					   "AND e.line_id OPERATOR(pg_catalog.<) (p.first_line OPERATOR(pg_catalog.+) p.line_count) "
					   "WHERE o.first_line OPERATOR(pg_catalog.<=) $1 AND $1 OPERATOR(pg_catalog.<) (o.first_line OPERATOR(pg_catalog.+) o.line_count) "
					   "AND o.rep_id OPERATOR(pg_catalog.=) $2 AND e.line_id OPERATOR(pg_catalog.<) $1 AND e.credit_id IS NOT NULL GROUP BY e.component", 2,
					   (SpiArg[]) {spi_int8(line->line_id), spi_text(line->rep_id)});
	for (uint64 i = 0; i < rows; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		bool		isnull;
		int			component = DatumGetInt16(spi_get_datum(i, 1, &isnull));
		Numeric		sum = DatumGetNumericCopy(spi_get_datum(i, 2, &isnull));

		component = component < account->ncomponents ? component : 0;
		account->cumulated[component] = decimal_add(account->cumulated[component], sum);
		MemoryContextSwitchTo(old);
	}
	spi_close(&scope);
}

/* What a component is called */
static const char *
component_name(const Explained *line, int component)
{
	return component > 0 ? line->definition->components[component - 1].name : "the plan's tiers";
}

/* One component's part where sums decide together: its sum and level before and after, and what that changes */
static Numeric
level_row(Explained *line, const RunningAccount *account, int component, Numeric before, Numeric before_value, Numeric before_level)
{
	Numeric		level;
	Numeric		value = plan_cumulative(account_tiers(account, component, &level), account->cumulated[component]);
	Numeric		change = decimal_sub(value, before_value);
	bool		same = decimal_compare(level, before_level) == 0;
	char	   *detail;

	if (decimal_is_zero(change) && same)
		return change;
	detail = psprintf("%s: %s on %s", component_name(line, component), money_text(line, as_money(account, value)),
					  money_text(line, account->cumulated[component]));
	if (account->levels[component].count > 0)
		detail = psprintf("%s at the level from %s%s", detail, money_text(line, level),
						  same ? "" : psprintf(" (before: from %s)", money_text(line, before_level)));
	detail = psprintf("%s, %s before", detail, money_text(line, as_money(account, before_value)));
	put_row(line, "level", before, account->cumulated[component], NULL, as_money(account, change), detail);
	appendStringInfo(&line->sentence, "%s%s", line->slices++ > 0 ? "; " : "", detail);
	return change;
}

/* A credit's line where commission follows from all of the account's sums */
static void
explain_by_levels(Explained *line, RunningAccount *account)
{
	int			component = line->component < account->ncomponents ? line->component : 0;
	Numeric    *sums = palloc(sizeof(Numeric) * account->ncomponents);
	Numeric    *values = palloc(sizeof(Numeric) * account->ncomponents);
	Numeric    *levels = palloc(sizeof(Numeric) * account->ncomponents);
	Numeric		total = line->total_before;

	restore_sums(line, account);
	for (int i = 0; i < account->ncomponents; i++)
	{
		sums[i] = account->cumulated[i];
		values[i] = plan_cumulative(account_tiers(account, i, &levels[i]), sums[i]);
	}
	account->cumulated[component] = line->after;
	for (int i = 0; i < account->ncomponents; i++)
		total = decimal_add(total, level_row(line, account, i, sums[i], values[i], levels[i]));
	total_rows(line, account, line->total_before, total);
}

/* How the amount that counts came from the credit's own: split, factor, exchange rate */
static void
source_rows(Explained *line)
{
	Numeric		amount = line->source.amount;
	const char *currency = line->source.currency ? line->source.currency : line->currency;
	StringInfoData text;

	if (amount == NULL)
		return;
	initStringInfo(&text);
	appendStringInfo(&text, " (%s %s", money_text(line, amount), currency);
	if (line->source.split)
	{
		put_row(line, "split", amount, NULL, line->source.split, decimal_mul(amount, line->source.split),
				psprintf("%s of %s %s", percent(line->source.split), money_text(line, amount), currency));
		amount = decimal_mul(amount, line->source.split);
		appendStringInfo(&text, " times the split of %s", percent(line->source.split));
	}
	if (line->source.factor)
	{
		put_row(line, "factor", amount, NULL, line->source.factor, decimal_mul(amount, line->source.factor),
				psprintf("%s of %s %s count", percent(line->source.factor), money_text(line, amount), currency));
		amount = decimal_mul(amount, line->source.factor);
		appendStringInfo(&text, " times the factor %s", decimal_text(line->source.factor));
	}
	if (line->source.rate)
	{
		put_row(line, "exchange", amount, NULL, line->source.rate, decimal_mul(amount, line->source.rate),
				psprintf("%s %s at %s in %s", money_text(line, amount), currency, decimal_text(line->source.rate), line->currency));
		amount = decimal_mul(amount, line->source.rate);
		appendStringInfo(&text, " at the exchange rate %s", decimal_text(line->source.rate));
	}
	appendStringInfo(&text, " = %s)", money_text(line, amount));
	line->source_text = text.data;
}

/* Why a line takes back, or brings back, what was not paid in time */
static void
payment_row(Explained *line)
{
	int			days = line->definition->unpaid_days;
	char	   *detail;

	if (line->kind == LINE_UNPAID)
		detail = psprintf("not paid within %d days of %s", days, line->credited_on);
	else if (line->kind == LINE_REPAID)
		detail = psprintf("paid after all, later than %d days from %s", days, line->credited_on);
	else
		return;
	put_row(line, "payment", line->before, line->after, NULL, NULL, detail);
	appendStringInfo(&line->sentence, "%s%s", detail, line->purpose < PURPOSE_BONUS ? ", " : ": ");
}

/* A correction where order decides: what the credit had before it, from the ledger, and what it has with it */
static void
explain_by_difference(Explained *line)
{
	if (line->terms.orphaned)
	{
		put_row(line, "recalculation", line->before, line->after, NULL, line->amount,
				"the plan does not hold in this period (any more) as it did: what the credit earned here is taken back");
		appendStringInfoString(&line->sentence, "the plan does not hold in this period as it did");
		return;
	}
	put_row(line, "recalculation", line->before, line->after, NULL, line->amount,
			psprintf("computed anew with the limits of single deals and budgets, the credit earns %s more than the ledger held for it",
					 decimal_text(line->amount)));
	appendStringInfoString(&line->sentence, "computed anew with the limits of single deals and budgets");
}

/* A bonus for a credit */
static void
explain_bonus(Explained *line)
{
	int			index = line->purpose - PURPOSE_BONUS;
	const PlanBonus *bonus = index < line->definition->nbonuses ? &line->definition->bonuses[index] : NULL;
	char	   *detail;

	if (bonus && bonus->rate)
		detail = psprintf("bonus \"%s\": %s of %s", bonus->name, percent(bonus->rate),
						  money_text(line, decimal_sub(line->after, line->before)));
	else
		detail = psprintf("bonus \"%s\"%s%s", bonus ? bonus->name : "", bonus ? ": " : "",
						  bonus ? money_text(line, bonus->amount) : "");
	if (bonus && bonus->cap)
		detail = psprintf("%s, at most %s a period", detail, money_text(line, bonus->cap));
	if (bonus && bonus->budget)
		detail = psprintf("%s, within the budget of %s", detail, money_text(line, bonus->budget));
	put_row(line, "bonus", line->before, line->after, bonus ? bonus->rate : NULL, line->amount, detail);
	appendStringInfoString(&line->sentence, detail);
}

/* What a bonus of the period's sum is for */
static char *
mark_detail(const Explained *line, const PlanBonus *mark)
{
	const char *of = line->definition->measure == PLAN_ATTAINMENT ? " of quota" : "";
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "bonus \"%s\"", mark->name);
	if (mark->nranks > 0)
	{
		appendStringInfoString(&text, " by rank of the period's sum among the plan's reps (");
		for (int i = 0; i < mark->nranks; i++)
			appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", money_text(line, mark->ranks[i]));
		appendStringInfoChar(&text, ')');
	}
	else if (mark->pool != POOL_NONE)
		appendStringInfo(&text, ": %s share of a pool of %s%s", mark->pool == POOL_EQUAL ? "an equal" : "the",
						 mark->rate ? psprintf("%s of what all reps of the plan were credited", percent(mark->rate)) : money_text(line, mark->amount),
						 mark->pool == POOL_EQUAL ? "" : ", in proportion to the period's sums");
	else if (mark->rate)
		appendStringInfo(&text, " of %s of the period's sum", percent(mark->rate));
	if (mark->every)
		appendStringInfo(&text, " of %s for every %s%s", money_text(line, mark->amount), decimal_text(mark->every), of);
	if (mark->at)
		appendStringInfo(&text, " for reaching %s%s", decimal_text(mark->at), of);
	if (mark->cap)
		appendStringInfo(&text, ", at most %s", money_text(line, mark->cap));
	return text.data;
}

/* A line about the account as a whole */
static void
explain_account_line(Explained *line)
{
	const PlanDefinition *plan = line->definition;
	const PlanBonus *mark = line->component > 0 && line->component <= plan->nbonuses ? &plan->bonuses[line->component - 1] : NULL;
	char	   *detail;

	if (line->kind == LINE_DRAW)
		detail = psprintf("%s the %s draw of %s a period", decimal_compare(line->amount, decimal_zero()) < 0 ? "recovery of" : "advance up to",
						  plan->draw_recoverable ? "recoverable" : "guaranteed", money_text(line, plan->draw));
	else if (line->kind == LINE_BONUS && mark)
		detail = mark_detail(line, mark);
	else if (line->component == -1 && plan->floor)
		detail = psprintf("made up to the plan's floor of %s a period", money_text(line, plan->floor));
	else
		detail = psprintf("the period's terms changed (version %d of the plan, quota or share of the period): the sum credited, %s, "
						  "comes to another commission", line->version, line->before ? money_text(line, line->before) : "0");
	put_row(line, "account", line->before, line->after, NULL, line->amount, detail);
	appendStringInfoString(&line->sentence, detail);
}

/* The verb of the sentence, by kind and sign */
static const char *
verb_of(const Explained *line)
{
	bool		less = decimal_compare(line->amount, decimal_zero()) < 0;

	switch (line->kind)
	{
		case LINE_DRAW:
			return less ? "gives back" : "is advanced";
		case LINE_CLAWBACK:
		case LINE_UNPAID:
			return "gives back (clawback)";
		case LINE_TRUE_UP:
		case LINE_REPAID:
			return less ? "gives back (true-up)" : "gets (true-up)";
		default:
			return less ? "gives back" : "earns";
	}
}

/* All of it as one sentence, the last row */
static void
sentence_row(Explained *line)
{
	StringInfoData text;
	Numeric		size = DatumGetNumeric(DirectFunctionCall1(numeric_abs, NumericGetDatum(line->amount)));

	initStringInfo(&text);
	appendStringInfo(&text, "Rep %s %s %s %s", line->rep_id, verb_of(line), decimal_text(size), line->currency);
	if (line->credit_id)
		appendStringInfo(&text, " on credit %s of %s%s", line->credit_id, line->credited_on,
						 line->source_text ? line->source_text : "");
	if (line->credit_id && line->definition->amount)
		appendStringInfo(&text, ", counted as %s", line->definition->amount);
	if (line->purpose == PURPOSE_OVERRIDE)
		appendStringInfo(&text, line->terms.by_level ? " as manager of level %d" : " as manager", line->component + 1);
	appendStringInfo(&text, " by plan %s, version %d", line->plan, line->version);
	if (line->credit_id && line->purpose < PURPOSE_BONUS)
		appendStringInfo(&text, ": it moves the sum of %s from %s to %s", line->for_period,
						 money_text(line, line->before), money_text(line, line->after));
	if (line->sentence.len > 0)
		appendStringInfo(&text, "%s %s", line->credit_id && line->purpose < PURPOSE_BONUS ? "," : ":", line->sentence.data);
	if (line->corrects)
		appendStringInfo(&text, "; it corrects line " INT64_FORMAT, line->corrects);
	if (strcmp(line->period, line->for_period) != 0)
		appendStringInfo(&text, "; it is paid with %s", line->period);
	appendStringInfoChar(&text, '.');
	put_row(line, "sentence", NULL, NULL, NULL, line->amount, text.data);
}

/*
 * explain_commission(line_id bigint) -> setof (step, item, from_amount, to_amount, rate, amount, detail)
 *
 * Rows in the order of the computation: credit, tier slices and thresholds, limits, rounding, what it corrects; the last
 * row, item 'sentence', says it all in English. Errors: 02000 where there is no such line to see.
 */
Datum
salesops_explain_commission(PG_FUNCTION_ARGS)
{
	Explained	line = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo, .line_id = PG_GETARG_INT64(0)};
	RunningAccount *account;

	InitMaterializedSRF(fcinfo, 0);
	initStringInfo(&line.sentence);
	read_line(&line);
	if (line.credit_id == NULL)
		explain_account_line(&line);
	else
	{
		put_row(&line, "credit", line.before, line.after, NULL, decimal_sub(line.after, line.before),
				psprintf("credit %s of %s moves the sum of %s from %s to %s", line.credit_id, line.credited_on, line.for_period,
						 money_text(&line, line.before), money_text(&line, line.after)));
		if (line.definition->amount)
			put_row(&line, "amount", NULL, NULL, NULL, line.source.amount ? line.source.amount : decimal_sub(line.after, line.before),
					psprintf("what counts of the credit by the plan's expression: %s", line.definition->amount));
		source_rows(&line);
		payment_row(&line);
		account = account_make(&line.terms);
		if (line.purpose >= PURPOSE_BONUS)
			explain_bonus(&line);
		else if (line.terms.orphaned || (account->keep_totals && line.total_before == NULL))
			explain_by_difference(&line);
		else if (account->levels)
			explain_by_levels(&line, account);
		else
			explain_by_tiers(&line, account);
	}
	if (line.corrects)
		put_row(&line, "corrects", NULL, NULL, NULL, NULL, psprintf("line " INT64_FORMAT, line.corrects));
	sentence_row(&line);
	return (Datum) 0;
}
