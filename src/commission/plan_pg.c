/*
 * plan_pg.c
 *		A plan's JSON definition: parsed, checked with every mistake listed, and turned into the pieces of F.
 *
 * The published schema is doc/commission_plan.schema.json; this file is what holds. Nothing here reads or writes tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "commission/decimal_pg.h"
#include "commission/plan_pg.h"
#include "core/options.h"
#include "core/relation.h"

const char *const plan_periods[] = {"month", "quarter", "year", "half_year", "half_month", "week", NULL};
const char *const plan_bases[] = {"booking", "invoice", "payment", "milestone", NULL};
const char *const plan_measures[] = {"amount", "attainment", NULL};
const char *const plan_methods[] = {"marginal", "retroactive", NULL};
static const char *const tiers_on[] = {"period", "deal", NULL};
static const char *const gates_of[] = {"year_to_date", "year", NULL};
static const char *const rate_dates[] = {"credited_on", "period_start", "period_end", NULL};
static const char *const negatives[] = {"reject", "allow", "zero", NULL};

/* ---- the definition's shape --------------------------------------------------------------------------------------- */

/* The plan's top level as it is written */
typedef struct RawPlan
{
	PlanDefinition plan;
	Jsonb	   *tiers;
	Jsonb	   *rates;
	Jsonb	   *bonuses;
	Jsonb	   *ramp;
	Jsonb	   *draw;
	Jsonb	   *gate;
	Jsonb	   *override;
} RawPlan;

#define PLAN_FIELD(field) offsetof(RawPlan, plan.field)

static const OptionSpec plan_specs[] = {
	{"period", OPTION_CHOICE, PLAN_FIELD(period), .choices = plan_periods},
	{"currency", OPTION_TEXT, PLAN_FIELD(currency)},
	{"basis", OPTION_CHOICE, PLAN_FIELD(basis), .choices = plan_bases},
	{"measure", OPTION_CHOICE, PLAN_FIELD(measure), .choices = plan_measures},
	{"method", OPTION_CHOICE, PLAN_FIELD(method), .choices = plan_methods},
	{"tiers_on", OPTION_CHOICE, PLAN_FIELD(tiers_on), .choices = tiers_on},
	{"rate_date", OPTION_CHOICE, PLAN_FIELD(rate_date), .choices = rate_dates},
	{"tiers", OPTION_ARRAY, offsetof(RawPlan, tiers), .required = true},
	{"rates", OPTION_ARRAY, offsetof(RawPlan, rates)},
	{"where", OPTION_TEXT, PLAN_FIELD(where)},
	{"description", OPTION_TEXT, PLAN_FIELD(description)},
	{"cap", OPTION_NUMERIC, PLAN_FIELD(cap), .min = 0, .max = 1e18},
	{"deal_cap", OPTION_NUMERIC, PLAN_FIELD(deal_cap), .min = 0, .max = 1e18},
	{"floor", OPTION_NUMERIC, PLAN_FIELD(floor), .min = 0, .max = 1e18},
	{"deal_floor", OPTION_NUMERIC, PLAN_FIELD(deal_floor), .min = 0, .max = 1e18},
	{"cliff", OPTION_NUMERIC, PLAN_FIELD(cliff), .min = 0, .max = 1e18},
	{"target", OPTION_NUMERIC, PLAN_FIELD(target), .min = 0, .max = 1e18},
	{"gate", OPTION_OBJECT, offsetof(RawPlan, gate)},
	{"ramp", OPTION_ARRAY, offsetof(RawPlan, ramp)},
	{"draw", OPTION_OBJECT, offsetof(RawPlan, draw)},
	{"clawback_days", OPTION_INTEGER, PLAN_FIELD(clawback_days), .min = 0, .max = 36500},
	{"bonuses", OPTION_ARRAY, offsetof(RawPlan, bonuses)},
	{"manager_override", OPTION_OBJECT, offsetof(RawPlan, override)},
	{"prorate", OPTION_BOOLEAN, PLAN_FIELD(prorate)},
	{"negative", OPTION_CHOICE, PLAN_FIELD(negative), .choices = negatives}
};

static const OptionSpec tier_specs[] = {
	{"from", OPTION_NUMERIC, offsetof(PlanTier, from), .required = true, .min = -1e18, .max = 1e18},
	{"to", OPTION_NUMERIC, offsetof(PlanTier, to), .min = -1e18, .max = 1e18},
	{"rate", OPTION_NUMERIC, offsetof(PlanTier, rate), .required = true, .min = -1e6, .max = 1e6},
	{"bonus", OPTION_NUMERIC, offsetof(PlanTier, bonus), .min = 0, .max = 1e18},
	{"retroactive", OPTION_BOOLEAN, offsetof(PlanTier, retroactive)}
};

typedef struct RawComponent
{
	PlanComponent component;
	Numeric		rate;
	Jsonb	   *tiers;
} RawComponent;

static const OptionSpec component_specs[] = {
	{"name", OPTION_TEXT, offsetof(RawComponent, component.name)},
	{"where", OPTION_TEXT, offsetof(RawComponent, component.where), .required = true},
	{"factor", OPTION_NUMERIC, offsetof(RawComponent, component.factor), .min = 0, .max = 1000},
	{"rate", OPTION_NUMERIC, offsetof(RawComponent, rate), .min = -1e6, .max = 1e6},
	{"tiers", OPTION_ARRAY, offsetof(RawComponent, tiers)}
};

static const OptionSpec bonus_specs[] = {
	{"name", OPTION_TEXT, offsetof(PlanBonus, name)},
	{"where", OPTION_TEXT, offsetof(PlanBonus, where)},
	{"amount", OPTION_NUMERIC, offsetof(PlanBonus, amount), .min = 0, .max = 1e18},
	{"rate", OPTION_NUMERIC, offsetof(PlanBonus, rate), .min = 0, .max = 1e6},
	{"at", OPTION_NUMERIC, offsetof(PlanBonus, at), .min = 0, .max = 1e18},
	{"budget", OPTION_NUMERIC, offsetof(PlanBonus, budget), .min = 0, .max = 1e18},
	{"from", OPTION_DATE, offsetof(PlanBonus, from)},
	{"to", OPTION_DATE, offsetof(PlanBonus, to)}
};

static const OptionSpec draw_specs[] = {
	{"amount", OPTION_NUMERIC, offsetof(PlanDefinition, draw), .required = true, .min = 0, .max = 1e18},
	{"recoverable", OPTION_BOOLEAN, offsetof(PlanDefinition, draw_recoverable)}
};

static const OptionSpec gate_specs[] = {
	{"at", OPTION_NUMERIC, offsetof(PlanDefinition, gate_at), .required = true, .min = 0, .max = 1e18},
	{"above", OPTION_NUMERIC, offsetof(PlanDefinition, gate_above), .required = true, .min = 0, .max = 1e18},
	{"of", OPTION_CHOICE, offsetof(PlanDefinition, gate_of), .choices = gates_of}
};

static const OptionSpec override_specs[] = {
	{"rate", OPTION_NUMERIC, offsetof(PlanDefinition, override_rate), .required = true, .min = 0, .max = 1e6},
	{"levels", OPTION_INTEGER, offsetof(PlanDefinition, override_levels), .min = 1, .max = 20}
};

/* ---- parsing ------------------------------------------------------------------------------------------------------ */

/* Bounds in order, without gaps or overlaps, starting at 0 so that nothing is left undefined. */
static void
check_tier_order(const PlanTierList *list, const char *where, Problems *problems)
{
	if (list->tiers[0].from && !decimal_is_zero(list->tiers[0].from))
		problems_add(problems, "%s[0]: \"from\" must be 0, not %s: what is below would have no rate (give {\"from\": 0, \"rate\": 0})",
					 where, decimal_text(list->tiers[0].from));
	for (int i = 0; i < list->count; i++)
	{
		const PlanTier *tier = &list->tiers[i];
		const PlanTier *next = i + 1 < list->count ? tier + 1 : NULL;

		if (tier->from && tier->to && decimal_compare(tier->to, tier->from) <= 0)
			problems_add(problems, "%s[%d]: lower bound %s is not below upper bound %s",
						 where, i, decimal_text(tier->from), decimal_text(tier->to));
		if (next == NULL || !next->from || !tier->from)
			continue;
		if (decimal_compare(next->from, tier->from) <= 0)
			problems_add(problems, "%s[%d]: \"from\" %s must be above the tier before it (%s)",
						 where, i + 1, decimal_text(next->from), decimal_text(tier->from));
		else if (tier->to && decimal_compare(tier->to, next->from) != 0)
			problems_add(problems, "%s[%d]: %s between \"to\" %s and the next \"from\" %s", where, i,
						 decimal_compare(tier->to, next->from) < 0 ? "a gap" : "an overlap",
						 decimal_text(tier->to), decimal_text(next->from));
	}
}

/* A list of tiers; a "to" on the last tier means nothing is earned above it. */
void
plan_parse_tiers(Jsonb *json, const char *where, PlanTierList *list, Problems *problems)
{
	List	   *elements = NIL;
	int			before = problems->count;
	ListCell   *cell;

	if (json != NULL && JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json))
		elements = jsonb_elements(json);
	list->count = list_length(elements);
	list->tiers = palloc0(sizeof(PlanTier) * (list->count + 1));
	if (list->count == 0)
	{
		problems_add(problems, "%s must be a list of at least one {\"from\": …, \"rate\": …}", where);
		return;
	}
	foreach(cell, elements)
	{
		char	   *name = psprintf("%s[%d]", where, foreach_current_index(cell));

		options_parse((Jsonb *) lfirst(cell), tier_specs, lengthof(tier_specs),
					  &list->tiers[foreach_current_index(cell)], problems, name);
	}
	check_tier_order(list, where, problems);
	if (problems->count == before && list->tiers[list->count - 1].to != NULL)
	{
		PlanTier   *above = &list->tiers[list->count++];

		above->from = list->tiers[list->count - 2].to;
		above->rate = decimal_zero();
	}
}

/* Components: rates of their own by an expression over the credit. */
static void
parse_components(RawPlan *raw, Problems *problems)
{
	List	   *elements = jsonb_elements(raw->rates);
	PlanDefinition *plan = &raw->plan;
	ListCell   *cell;

	plan->ncomponents = list_length(elements);
	plan->components = palloc0(sizeof(PlanComponent) * Max(plan->ncomponents, 1));
	foreach(cell, elements)
	{
		RawComponent part = {{0}};
		int			index = foreach_current_index(cell);
		char	   *where = psprintf("rates[%d]", index);

		options_parse((Jsonb *) lfirst(cell), component_specs, lengthof(component_specs), &part, problems, where);
		if (part.rate && part.tiers)
			problems_add(problems, "%s: give \"rate\" or \"tiers\", not both", where);
		if (!part.rate && !part.tiers && !part.component.factor)
			problems_add(problems, "%s: one of \"rate\", \"tiers\" and \"factor\" is needed", where);
		part.component.own_tiers = part.rate || part.tiers;
		if (part.tiers)
			plan_parse_tiers(part.tiers, psprintf("%s.tiers", where), &part.component.tiers, problems);
		else if (part.rate)
		{
			part.component.tiers.count = 1;
			part.component.tiers.tiers = palloc0(sizeof(PlanTier));
			part.component.tiers.tiers[0].from = decimal_zero();
			part.component.tiers.tiers[0].rate = part.rate;
		}
		if (part.component.name == NULL)
			part.component.name = psprintf("rate %d", index + 1);
		plan->components[index] = part.component;
	}
}

/* Bonuses: for each credit that meets a condition, or once when the period's sum reaches a mark. */
static void
parse_bonuses(RawPlan *raw, Problems *problems)
{
	List	   *elements = jsonb_elements(raw->bonuses);
	PlanDefinition *plan = &raw->plan;
	ListCell   *cell;

	plan->nbonuses = list_length(elements);
	plan->bonuses = palloc0(sizeof(PlanBonus) * Max(plan->nbonuses, 1));
	foreach(cell, elements)
	{
		int			index = foreach_current_index(cell);
		PlanBonus  *bonus = &plan->bonuses[index];
		char	   *where = psprintf("bonuses[%d]", index);

		options_parse((Jsonb *) lfirst(cell), bonus_specs, lengthof(bonus_specs), bonus, problems, where);
		if (!bonus->amount == !bonus->rate)
			problems_add(problems, "%s: one of \"amount\" and \"rate\" is needed", where);
		if (bonus->at && (bonus->where || bonus->rate || bonus->budget))
			problems_add(problems, "%s: \"at\" goes with \"amount\" alone", where);
		if (bonus->from && bonus->to && *bonus->from >= *bonus->to)
			problems_add(problems, "%s: \"from\" must be before \"to\"", where);
		if (bonus->name == NULL)
			bonus->name = psprintf("bonus %d", index + 1);
	}
}

/* The ramp: shares of the quota in a new rep's first periods. */
static void
parse_ramp(RawPlan *raw, Problems *problems)
{
	List	   *elements = jsonb_elements(raw->ramp);
	ListCell   *cell;

	raw->plan.ramp = palloc0(sizeof(Numeric) * Max(list_length(elements), 1));
	foreach(cell, elements)
	{
		Jsonb	   *element = (Jsonb *) lfirst(cell);
		JsonbValue	value;

		if (JB_ROOT_IS_SCALAR(element) && JsonbExtractScalar(&element->root, &value) && value.type == jbvNumeric &&
			decimal_compare(value.val.numeric, decimal_zero()) > 0 && decimal_compare(value.val.numeric, decimal_integer(10)) <= 0)
			raw->plan.ramp[raw->plan.nramp++] = DatumGetNumericCopy(NumericGetDatum(value.val.numeric));
		else
			problems_add(problems, "ramp[%d] must be a share of the quota above 0, such as 0.5", foreach_current_index(cell));
	}
}

/* What only makes sense together */
static void
check_combinations(const PlanDefinition *plan, Problems *problems)
{
	if (strcmp(plan->currency, "credit") != 0 && commission_currency_exponent(plan->currency) < 0)
		problems_add(problems, "\"currency\" must be an ISO 4217 code such as \"USD\" (or \"credit\"), not \"%s\"", plan->currency);
	if (plan->target && plan->measure != PLAN_ATTAINMENT)
		problems_add(problems, "\"target\" needs \"measure\": \"attainment\"");
	if (plan->nramp > 0 && plan->measure != PLAN_ATTAINMENT)
		problems_add(problems, "\"ramp\" needs \"measure\": \"attainment\"");
	if (plan->tiers_on == TIERS_ON_DEAL && plan->gate_at)
		problems_add(problems, "\"gate\" needs \"tiers_on\": \"period\"");
	if (plan->gate_of == GATE_YEAR && plan->measure != PLAN_ATTAINMENT)
		problems_add(problems, "\"of\" in \"gate\" needs \"measure\": \"attainment\": an amount is the year's as it is given");
	if (plan->cap && plan->floor && decimal_compare(plan->floor, plan->cap) > 0)
		problems_add(problems, "\"floor\" %s is above \"cap\" %s", decimal_text(plan->floor), decimal_text(plan->cap));
	if (plan->deal_cap && plan->deal_floor && decimal_compare(plan->deal_floor, plan->deal_cap) > 0)
		problems_add(problems, "\"deal_floor\" %s is above \"deal_cap\" %s",
					 decimal_text(plan->deal_floor), decimal_text(plan->deal_cap));
}

/* Parse a definition; see plan_pg.h. */
PlanDefinition *
plan_parse(Jsonb *definition, Problems *problems)
{
	RawPlan    *raw = palloc0(sizeof(RawPlan));
	PlanDefinition *plan = &raw->plan;

	plan->period = PLAN_MONTH;
	plan->currency = "USD";
	plan->clawback_days = -1;
	plan->override_levels = 1;
	plan->draw_recoverable = true;
	plan->prorate = true;
	options_parse(definition, plan_specs, lengthof(plan_specs), raw, problems, "definition");
	if (!JB_ROOT_IS_OBJECT(definition))
		return plan;
	if (raw->tiers)
		plan_parse_tiers(raw->tiers, "tiers", &plan->tiers, problems);
	parse_components(raw, problems);
	parse_bonuses(raw, problems);
	parse_ramp(raw, problems);
	if (raw->draw)
		options_parse(raw->draw, draw_specs, lengthof(draw_specs), plan, problems, "draw");
	if (raw->gate)
		options_parse(raw->gate, gate_specs, lengthof(gate_specs), plan, problems, "gate");
	if (raw->override)
		options_parse(raw->override, override_specs, lengthof(override_specs), plan, problems, "manager_override");
	check_combinations(plan, problems);
	return plan;
}

/* ---- expressions -------------------------------------------------------------------------------------------------- */

/* Compile one expression over the credit's row; NULL stays NULL. */
static CompiledExpression *
compile_filter(const char *source, const char *plan, const char *what)
{
	RowExpression *expression;

	if (source == NULL)
		return NULL;
	/* the right to define it was checked when the plan was made */
	expression = expression_parse(source, contract_view("commission_credit"), BOOLOID, EXPRESSION_ANY_ROLE,
								  psprintf("%s of commission plan \"%s\"", what, plan));
	return expression_compile(expression);
}

/* Compile all of a plan's expressions; see plan_pg.h. */
void
plan_compile(PlanDefinition *plan, const char *name)
{
	plan->filter = compile_filter(plan->where, name, "where");
	for (int i = 0; i < plan->ncomponents; i++)
		plan->components[i].filter = compile_filter(plan->components[i].where, name, psprintf("rates[%d].where", i));
	for (int i = 0; i < plan->nbonuses; i++)
		plan->bonuses[i].filter = compile_filter(plan->bonuses[i].where, name, psprintf("bonuses[%d].where", i));
}

/* ---- periods ------------------------------------------------------------------------------------------------------ */

/* First day of a month counted from year 0 */
static DateADT
month_start(int months)
{
	return date2j(months / 12, months % 12 + 1, 1) - POSTGRES_EPOCH_JDATE;
}

/* Months of a plan's period, where it is made of months */
static int
period_months(PlanPeriod period)
{
	switch (period)
	{
		case PLAN_QUARTER:
			return 3;
		case PLAN_HALF_YEAR:
			return 6;
		case PLAN_YEAR:
			return 12;
		default:
			return 1;
	}
}

/* Start of the plan's period that holds a date (of the calendar; weeks from Monday) */
DateADT
plan_period_start(PlanPeriod period, DateADT date)
{
	int			year;
	int			month;
	int			day;
	int			step = period_months(period);
	DateADT		start;

	if (period == PLAN_WEEK)
		return date - (j2day(date + POSTGRES_EPOCH_JDATE) + 6) % 7;
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	start = month_start(year * 12 + (month - 1) / step * step);
	return period == PLAN_HALF_MONTH && day > 15 ? start + 15 : start;
}

/* Start of the period after the one that starts here */
DateADT
plan_period_next(PlanPeriod period, DateADT start)
{
	int			year;
	int			month;
	int			day;

	if (period == PLAN_WEEK)
		return start + 7;
	j2date(start + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (period == PLAN_HALF_MONTH && day == 1)
		return start + 15;
	return month_start(year * 12 + month - 1 + period_months(period));
}

/* ---- F ------------------------------------------------------------------------------------------------------------ */

/* Index of the piece that holds at an amount */
int
plan_piece(const NumericTiers *tiers, Numeric amount)
{
	int			piece = 0;

	while (piece + 1 < tiers->count && decimal_compare(tiers->pieces[piece + 1].from, amount) <= 0)
		piece++;
	return piece;
}

/* F(amount) in numeric: what the kernel computes, of any size */
Numeric
plan_cumulative(const NumericTiers *tiers, Numeric amount)
{
	const NumericPiece *piece = &tiers->pieces[plan_piece(tiers, amount)];

	return decimal_add(piece->base, decimal_mul(piece->rate, decimal_sub(amount, piece->from)));
}

/* The pieces of the first 'count' tiers, without cliff and gate */
static void
plain_pieces(const PlanTierList *list, int count, PlanMethod method, Numeric unit, Numeric multiplier,
			 Numeric divisor, NumericTiers *result)
{
	Numeric		lumps = decimal_zero();

	result->count = count;
	result->pieces = palloc(sizeof(NumericPiece) * (count * 2 + 2));
	for (int i = 0; i < count; i++)
	{
		const PlanTier *tier = &list->tiers[i];
		NumericPiece *piece = &result->pieces[i];
		Numeric		lump = tier->bonus && divisor ? decimal_mul(tier->bonus, divisor) : tier->bonus;

		piece->from = unit ? decimal_mul(tier->from, unit) : tier->from;
		piece->rate = multiplier ? decimal_mul(tier->rate, multiplier) : tier->rate;
		if (lump)
			lumps = decimal_add(lumps, lump);
		if (method == PLAN_RETROACTIVE || tier->retroactive || i == 0)
			piece->base = decimal_add(decimal_mul(piece->from, piece->rate), lumps);
		else
		{
			NumericTiers below = {i, result->pieces};

			piece->base = plan_cumulative(&below, piece->from);
			if (lump)
				piece->base = decimal_add(piece->base, lump);
		}
	}
}

/* 'low' below an amount and 'high' from there on, as one list of pieces */
static void
join_pieces(const NumericTiers *low, const NumericTiers *high, Numeric at, NumericTiers *result)
{
	int			piece = plan_piece(high, at);
	int			count = 0;

	result->pieces = palloc(sizeof(NumericPiece) * (low->count + high->count + 2));
	for (int i = 0; i < low->count; i++)
		if (i == 0 || decimal_compare(low->pieces[i].from, at) < 0)
			result->pieces[count++] = low->pieces[i];
	result->pieces[count].from = at;
	result->pieces[count].base = plan_cumulative(high, at);
	result->pieces[count++].rate = high->pieces[piece].rate;
	for (int i = piece + 1; i < high->count; i++)
		result->pieces[count++] = high->pieces[i];
	result->count = count;
}

/* The pieces of a list of tiers with cliff and gate; see plan_pg.h. */
void
plan_pieces(const PlanTierList *list, PlanMethod method, Numeric unit, Numeric multiplier, Numeric divisor,
			Numeric cliff, Numeric gate, Numeric gate_above, NumericTiers *result)
{
	NumericTiers full;
	NumericTiers joined;

	plain_pieces(list, list->count, method, unit, multiplier, divisor, &full);
	if (gate)
	{
		NumericTiers below;
		int			count = 1;

		while (count < list->count && decimal_compare(list->tiers[count].from, gate_above) < 0)
			count++;
		plain_pieces(list, count, method, unit, multiplier, divisor, &below);
		/* a gate passed before the period's first credit holds from the start */
		if (decimal_compare(gate, decimal_zero()) > 0)
		{
			join_pieces(&below, &full, gate, &joined);
			full = joined;
		}
	}
	if (cliff && decimal_compare(cliff, decimal_zero()) > 0)
	{
		NumericPiece nothing = {decimal_zero(), decimal_zero(), decimal_zero()};
		NumericTiers below = {1, &nothing};

		join_pieces(&below, &full, cliff, &joined);
		full = joined;
	}
	*result = full;
}

/* The kernel's form of numeric pieces, or NULL where a number does not fit. */
CommissionPiece *
plan_fixed_pieces(const NumericTiers *tiers)
{
	CommissionPiece *pieces = palloc(sizeof(CommissionPiece) * tiers->count);

	for (int i = 0; i < tiers->count; i++)
		if (!decimal_from_numeric(tiers->pieces[i].from, COMMISSION_AMOUNT_DIGITS, &pieces[i].from) ||
			!decimal_from_numeric(tiers->pieces[i].base, COMMISSION_VALUE_DIGITS, &pieces[i].base) ||
			!decimal_from_numeric(tiers->pieces[i].rate, COMMISSION_RATE_DIGITS, &pieces[i].rate))
			return NULL;
	return pieces;
}
