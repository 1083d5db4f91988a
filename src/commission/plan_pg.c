/*
 * plan_pg.c
 *		A plan's JSON definition: parsed, checked with every mistake listed, and turned into the pieces of F.
 *
 * The published schema is doc/commission_plan.schema.json; this file is what holds. Nothing here reads or writes tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "optimizer/optimizer.h"
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
const char *const plan_bases[] = {"booking", "invoice", "payment", "milestone", "any", NULL};
const char *const plan_measures[] = {"amount", "attainment", NULL};
const char *const plan_methods[] = {"marginal", "retroactive", NULL};
static const char *const tiers_on[] = {"period", "deal", NULL};
static const char *const gates_of[] = {"year_to_date", "year", NULL};
static const char *const rate_dates[] = {"credited_on", "period_start", "period_end", NULL};
static const char *const takes_back[] = {"all", "unpaid", NULL};
static const char *const late_payments[] = {"restores", "is_lost", NULL};
static const char *const sums[] = {"own", "plan", NULL};
static const char *const pools[] = {"equal", "proportional", NULL};
static const char *const negatives[] = {"reject", "allow", "zero", NULL};

/* ---- the definition's shape --------------------------------------------------------------------------------------- */

/* The plan's top level as it is written */
typedef struct RawPlan
{
	PlanDefinition plan;
	Jsonb	   *tiers;
	Jsonb	   *curve;
	bool		interpolate;
	Jsonb	   *rates;
	Jsonb	   *bonuses;
	Jsonb	   *ramp;
	Jsonb	   *draw;
	Jsonb	   *gate;
	Jsonb	   *non_payment;
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
	{"tiers", OPTION_ARRAY, offsetof(RawPlan, tiers)},
	{"curve", OPTION_ARRAY, offsetof(RawPlan, curve)},
	{"interpolate", OPTION_BOOLEAN, offsetof(RawPlan, interpolate)},
	{"rates", OPTION_ARRAY, offsetof(RawPlan, rates)},
	{"where", OPTION_TEXT, PLAN_FIELD(where)},
	{"amount", OPTION_TEXT, PLAN_FIELD(amount)},
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
	{"non_payment", OPTION_OBJECT, offsetof(RawPlan, non_payment)},
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

static const OptionSpec point_specs[] = {
	{"at", OPTION_NUMERIC, offsetof(PlanTier, from), .required = true, .min = 0, .max = 1e18},
	{"pays", OPTION_NUMERIC, offsetof(PlanTier, rate), .required = true, .min = 0, .max = 1e18}
};

typedef struct RawComponent
{
	PlanComponent component;
	Numeric		rate;
	Jsonb	   *tiers;
	Jsonb	   *curve;
	Jsonb	   *by;
	int			sum;
	bool		interpolate;
} RawComponent;

/* A component's "by", and one of its levels */
typedef struct RawLevels
{
	char	   *of;
	Jsonb	   *levels;
} RawLevels;

typedef struct RawLevel
{
	Numeric		at;
	Numeric		rate;
	Jsonb	   *tiers;
	Jsonb	   *curve;
	bool		interpolate;
} RawLevel;

static const OptionSpec levels_specs[] = {
	{"of", OPTION_TEXT, offsetof(RawLevels, of), .required = true},
	{"levels", OPTION_ARRAY, offsetof(RawLevels, levels), .required = true}
};

static const OptionSpec level_specs[] = {
	{"at", OPTION_NUMERIC, offsetof(RawLevel, at), .required = true, .min = 0, .max = 1e18},
	{"rate", OPTION_NUMERIC, offsetof(RawLevel, rate), .min = -1e6, .max = 1e6},
	{"tiers", OPTION_ARRAY, offsetof(RawLevel, tiers)},
	{"curve", OPTION_ARRAY, offsetof(RawLevel, curve)},
	{"interpolate", OPTION_BOOLEAN, offsetof(RawLevel, interpolate)}
};

static const OptionSpec component_specs[] = {
	{"name", OPTION_TEXT, offsetof(RawComponent, component.name)},
	{"where", OPTION_TEXT, offsetof(RawComponent, component.where), .required = true},
	{"factor", OPTION_NUMERIC, offsetof(RawComponent, component.factor), .min = 0, .max = 1000},
	{"rate", OPTION_NUMERIC, offsetof(RawComponent, rate), .min = -1e6, .max = 1e6},
	{"tiers", OPTION_ARRAY, offsetof(RawComponent, tiers)},
	{"curve", OPTION_ARRAY, offsetof(RawComponent, curve)},
	{"by", OPTION_OBJECT, offsetof(RawComponent, by)},
	{"sum", OPTION_CHOICE, offsetof(RawComponent, sum), .choices = sums},
	{"interpolate", OPTION_BOOLEAN, offsetof(RawComponent, interpolate)},
	{"quota", OPTION_NUMERIC, offsetof(RawComponent, component.quota), .min = 0, .max = 1e18},
	{"quota_share", OPTION_NUMERIC, offsetof(RawComponent, component.quota_share), .min = 0, .max = 1000},
	{"target", OPTION_NUMERIC, offsetof(RawComponent, component.target), .min = 0, .max = 1e18},
	{"target_share", OPTION_NUMERIC, offsetof(RawComponent, component.target_share), .min = 0, .max = 1000}
};

/* A bonus as it is written */
typedef struct RawBonus
{
	PlanBonus	bonus;
	Jsonb	   *rank;
} RawBonus;

static const OptionSpec bonus_specs[] = {
	{"name", OPTION_TEXT, offsetof(PlanBonus, name)},
	{"pool", OPTION_CHOICE, offsetof(PlanBonus, pool), .choices = pools},
	{"where", OPTION_TEXT, offsetof(PlanBonus, where)},
	{"amount", OPTION_NUMERIC, offsetof(PlanBonus, amount), .min = 0, .max = 1e18},
	{"rate", OPTION_NUMERIC, offsetof(PlanBonus, rate), .min = 0, .max = 1e6},
	{"at", OPTION_NUMERIC, offsetof(PlanBonus, at), .min = 0, .max = 1e18},
	{"every", OPTION_NUMERIC, offsetof(PlanBonus, every), .min = 0, .max = 1e18},
	{"cap", OPTION_NUMERIC, offsetof(PlanBonus, cap), .min = 0, .max = 1e18},
	{"budget", OPTION_NUMERIC, offsetof(PlanBonus, budget), .min = 0, .max = 1e18},
	{"from", OPTION_DATE, offsetof(PlanBonus, from)},
	{"to", OPTION_DATE, offsetof(PlanBonus, to)},
	{"rank", OPTION_ARRAY, offsetof(RawBonus, rank)}
};

static const OptionSpec draw_specs[] = {
	{"amount", OPTION_NUMERIC, offsetof(PlanDefinition, draw), .required = true, .min = 0, .max = 1e18},
	{"recoverable", OPTION_BOOLEAN, offsetof(PlanDefinition, draw_recoverable)},
	{"periods", OPTION_INTEGER, offsetof(PlanDefinition, draw_periods), .min = 1, .max = 10000}
};

static const OptionSpec gate_specs[] = {
	{"at", OPTION_NUMERIC, offsetof(PlanDefinition, gate_at), .required = true, .min = 0, .max = 1e18},
	{"above", OPTION_NUMERIC, offsetof(PlanDefinition, gate_above), .required = true, .min = 0, .max = 1e18},
	{"of", OPTION_CHOICE, offsetof(PlanDefinition, gate_of), .choices = gates_of}
};

static const OptionSpec non_payment_specs[] = {
	{"days", OPTION_INTEGER, offsetof(PlanDefinition, unpaid_days), .required = true, .min = 0, .max = 3660},
	{"share", OPTION_NUMERIC, offsetof(PlanDefinition, unpaid_share), .min = 0, .max = 1},
	{"take_back", OPTION_CHOICE, offsetof(PlanDefinition, unpaid_takes), .choices = takes_back},
	{"late_payment", OPTION_CHOICE, offsetof(PlanDefinition, unpaid_late), .choices = late_payments},
	{"paid_on", OPTION_TEXT, offsetof(PlanDefinition, unpaid_paid_on)}
};

typedef struct RawOverride
{
	Numeric		rate;
	int			levels;
	Jsonb	   *rates;
} RawOverride;

static const OptionSpec override_specs[] = {
	{"rate", OPTION_NUMERIC, offsetof(RawOverride, rate), .min = 0, .max = 1e6},
	{"rates", OPTION_ARRAY, offsetof(RawOverride, rates)},
	{"levels", OPTION_INTEGER, offsetof(RawOverride, levels), .min = 1, .max = 20}
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
	memset(list, 0, sizeof(PlanTierList));
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

/* Points of a curve: ascending; what each pays is checked by its own specification. */
static void
parse_curve(Jsonb *json, bool interpolated, const char *where, PlanTierList *list, Problems *problems)
{
	List	   *elements = jsonb_elements(json);
	ListCell   *cell;

	list->is_curve = true;
	list->interpolated = interpolated;
	list->tiers = palloc0(sizeof(PlanTier) * (list_length(elements) + 1));
	if (elements == NIL)
		problems_add(problems, "%s must be a list of at least one {\"at\": …, \"pays\": …}", where);
	foreach(cell, elements)
	{
		PlanTier   *point = &list->tiers[list->count++];
		char	   *name = psprintf("%s[%d]", where, foreach_current_index(cell));

		options_parse((Jsonb *) lfirst(cell), point_specs, lengthof(point_specs), point, problems, name);
		if (list->count > 1 && point->from && point[-1].from && decimal_compare(point->from, point[-1].from) <= 0)
			problems_add(problems, "%s: \"at\" %s must be above the point before it (%s)", name, decimal_text(point->from),
						 decimal_text(point[-1].from));
	}
}

/* What a component measures against, and what it pays at it */
static void
check_component_terms(const PlanComponent *component, const PlanDefinition *plan, bool has_target, const char *where, Problems *problems)
{
	if ((component->quota || component->quota_share || component->target || component->target_share) &&
		(plan->measure != PLAN_ATTAINMENT || !component->own_tiers))
		problems_add(problems, "%s: \"quota\" and \"target\" need \"measure\": \"attainment\" and tiers, a curve or a rate of its own", where);
	if (component->quota && component->quota_share)
		problems_add(problems, "%s: give \"quota\" or \"quota_share\", not both", where);
	if (component->target && component->target_share)
		problems_add(problems, "%s: give \"target\" or \"target_share\", not both", where);
	if (component->target_share && !has_target)
		problems_add(problems, "%s: \"target_share\" is a share of the plan's \"target\", and it has none", where);
	if ((component->quota && decimal_is_zero(component->quota)) || (component->quota_share && decimal_is_zero(component->quota_share)))
		problems_add(problems, "%s: a quota must be more than 0", where);
}

/* One of rate, tiers and curve as a list of tiers */
static void
parse_list(Numeric rate, Jsonb *tiers, Jsonb *curve, bool interpolate, const char *where, PlanTierList *list, Problems *problems)
{
	if (tiers)
		plan_parse_tiers(tiers, psprintf("%s.tiers", where), list, problems);
	else if (curve)
		parse_curve(curve, interpolate, psprintf("%s.curve", where), list, problems);
	else if (rate)
	{
		list->count = 1;
		list->tiers = palloc0(sizeof(PlanTier));
		list->tiers[0].from = decimal_zero();
		list->tiers[0].rate = rate;
	}
}

/* Tiers by the level that another sum has reached; which one it is, is found when all components have their names. */
static void
parse_levels(Jsonb *by, const char *where, PlanLevels *levels, Problems *problems)
{
	RawLevels	raw = {0};
	List	   *elements;
	ListCell   *cell;

	options_parse(by, levels_specs, lengthof(levels_specs), &raw, problems, psprintf("%s.by", where));
	elements = jsonb_elements(raw.levels);
	levels->of_name = raw.of;
	levels->count = list_length(elements);
	levels->at = palloc0(sizeof(Numeric) * (levels->count + 1));
	levels->lists = palloc0(sizeof(PlanTierList) * (levels->count + 1));
	if (raw.levels && elements == NIL)
		problems_add(problems, "%s.by.levels must be a list of at least one {\"at\": …, \"rate\": …}", where);
	foreach(cell, elements)
	{
		RawLevel	level = {.interpolate = true};
		int			index = foreach_current_index(cell);
		char	   *name = psprintf("%s.by.levels[%d]", where, index);

		options_parse((Jsonb *) lfirst(cell), level_specs, lengthof(level_specs), &level, problems, name);
		if ((level.rate != NULL) + (level.tiers != NULL) + (level.curve != NULL) != 1)
			problems_add(problems, "%s: one of \"rate\", \"tiers\" and \"curve\" is needed", name);
		parse_list(level.rate, level.tiers, level.curve, level.interpolate, name, &levels->lists[index], problems);
		levels->at[index] = level.at;
		if (level.at && index == 0 && !decimal_is_zero(level.at))
			problems_add(problems, "%s: \"at\" must be 0, not %s: what is below would have no rate", name, decimal_text(level.at));
		if (level.at && index > 0 && levels->at[index - 1] && decimal_compare(level.at, levels->at[index - 1]) <= 0)
			problems_add(problems, "%s: \"at\" %s must be above the level before it (%s)", name, decimal_text(level.at),
						 decimal_text(levels->at[index - 1]));
	}
}

/* The sums that levels are read at, by their names; and what does not go together */
static void
resolve_levels(PlanDefinition *plan, Problems *problems)
{
	for (int i = 0; i < plan->ncomponents; i++)
	{
		PlanLevels *levels = &plan->components[i].levels;
		int			of = levels->of_name && strcmp(levels->of_name, "all") == 0 ? LEVELS_OF_ALL : 0;

		if (levels->of_name == NULL)
			continue;
		for (int j = 0; j < plan->ncomponents && of == 0; j++)
			if (strcmp(plan->components[j].name, levels->of_name) == 0 && plan->components[j].own_tiers)
				of = j + 1;
		if (of == 0 && strcmp(levels->of_name, "plan") != 0)
			problems_add(problems, "rates[%d].by: \"of\" must be \"all\", \"plan\" or the name of another of the rates that has a running sum, not \"%s\"",
						 i, levels->of_name);
		levels->of = of;
		if (plan->tiers_on == TIERS_ON_DEAL || plan->deal_cap || plan->deal_floor)
			problems_add(problems, "rates[%d].by: levels are of the period's sums: they go without \"tiers_on\": \"deal\", \"deal_cap\" and \"deal_floor\"", i);
		for (int j = 0; j < plan->ncomponents; j++)
			if (plan->components[j].shared)
				problems_add(problems, "rates[%d].by: it does not go with \"sum\": \"plan\" of rates[%d]", i, j);
	}
}

/* A component whose tiers are read at the plan's running sum: each credit by itself, so nothing may hold for what came before */
static void
check_shared(const PlanComponent *component, const PlanDefinition *plan, const char *where, Problems *problems)
{
	bool		jumps = plan->method == PLAN_RETROACTIVE;

	if (!component->shared)
		return;
	for (int i = 0; i < component->tiers.count; i++)
		jumps |= component->tiers.tiers[i].retroactive || component->tiers.tiers[i].bonus;
	if (!component->own_tiers || component->tiers.is_curve || jumps)
		problems_add(problems, "%s: \"sum\": \"plan\" goes with a rate or with marginal tiers (with \"by\" a whole sum goes by what another has reached)", where);
	if (component->quota || component->quota_share)
		problems_add(problems, "%s: \"sum\": \"plan\" is measured against the plan's quota", where);
	if (plan->tiers_on == TIERS_ON_DEAL)
		problems_add(problems, "%s: \"sum\": \"plan\" needs \"tiers_on\": \"period\"", where);
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
		RawComponent part = {.interpolate = true};
		int			index = foreach_current_index(cell);
		char	   *where = psprintf("rates[%d]", index);

		options_parse((Jsonb *) lfirst(cell), component_specs, lengthof(component_specs), &part, problems, where);
		if ((part.rate != NULL) + (part.tiers != NULL) + (part.curve != NULL) + (part.by != NULL) > 1)
			problems_add(problems, "%s: give one of \"rate\", \"tiers\", \"curve\" and \"by\"", where);
		if (!part.rate && !part.tiers && !part.curve && !part.by && !part.component.factor)
			problems_add(problems, "%s: one of \"rate\", \"tiers\", \"curve\", \"by\" and \"factor\" is needed", where);
		part.component.own_tiers = part.rate || part.tiers || part.curve || part.by;
		part.component.shared = part.sum == 1;
		check_component_terms(&part.component, plan, plan->target != NULL, where, problems);
		parse_list(part.rate, part.tiers, part.curve, part.interpolate, where, &part.component.tiers, problems);
		if (part.by)
			parse_levels(part.by, where, &part.component.levels, problems);
		check_shared(&part.component, plan, where, problems);
		if (part.component.name == NULL)
			part.component.name = psprintf("rate %d", index + 1);
		plan->components[index] = part.component;
	}
	resolve_levels(plan, problems);
}

/* Prizes by rank: for the first, the second, ... */
static void
parse_ranks(Jsonb *rank, PlanBonus *bonus, const char *where, Problems *problems)
{
	List	   *elements = jsonb_elements(rank);
	ListCell   *cell;

	if (rank && (elements == NIL || list_length(elements) > 1000))
		problems_add(problems, "%s: \"rank\" is a list of 1 to 1000 prizes, the first one's first", where);
	bonus->ranks = palloc0(sizeof(Numeric) * (list_length(elements) + 1));
	foreach(cell, elements)
	{
		Jsonb	   *element = lfirst(cell);
		JsonbValue	value;

		bonus->ranks[bonus->nranks] = decimal_zero();
		if (JB_ROOT_IS_SCALAR(element) && JsonbExtractScalar(&element->root, &value) && value.type == jbvNumeric &&
			!decimal_is_negative(value.val.numeric) &&
			decimal_compare(value.val.numeric, decimal_integer(INT64CONST(1000000000000000000))) <= 0)
			bonus->ranks[bonus->nranks] = DatumGetNumericCopy(NumericGetDatum(value.val.numeric));
		else
			problems_add(problems, "%s.rank[%d] must be a prize of 0 or more", where, bonus->nranks);
		bonus->nranks++;
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
		RawBonus	raw_bonus = {.bonus.pool = POOL_NONE};
		char	   *where = psprintf("bonuses[%d]", index);

		options_parse((Jsonb *) lfirst(cell), bonus_specs, lengthof(bonus_specs), &raw_bonus, problems, where);
		*bonus = raw_bonus.bonus;
		parse_ranks(raw_bonus.rank, bonus, where, problems);
		if ((bonus->amount != NULL) + (bonus->rate != NULL) + (raw_bonus.rank != NULL) != 1)
			problems_add(problems, "%s: one of \"amount\", \"rate\" and \"rank\" is needed", where);
		if (bonus->pool != POOL_NONE && (raw_bonus.rank || bonus->every))
			problems_add(problems, "%s: a \"pool\" goes with \"amount\" or \"rate\", without \"every\"", where);
		if (raw_bonus.rank && bonus->every)
			problems_add(problems, "%s: \"rank\" goes without \"every\"", where);
		if (PLAN_BONUS_OF_PERIOD(bonus) && (bonus->where || bonus->budget || bonus->from || bonus->to))
			problems_add(problems, "%s: \"at\", \"every\", \"rank\" and \"pool\" are about the period's sum: they go without \"where\", \"budget\", \"from\" and \"to\"",
						 where);
		if (bonus->every && (bonus->rate || decimal_is_zero(bonus->every)))
			problems_add(problems, "%s: \"every\" is more than 0 and goes with \"amount\"", where);
		if (bonus->from && bonus->to && *bonus->from >= *bonus->to)
			problems_add(problems, "%s: \"from\" must be before \"to\"", where);
		if (bonus->name == NULL)
			bonus->name = psprintf("bonus %d", index + 1);
	}
}

/* A number from 0 (exclusive where 'above') to 10 as an element of a list; 0 with a problem otherwise */
static Numeric
share_element(Jsonb *element, bool above, const char *where, Problems *problems)
{
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(element) && JsonbExtractScalar(&element->root, &value) && value.type == jbvNumeric &&
		decimal_compare(value.val.numeric, decimal_zero()) >= (above ? 1 : 0) &&
		decimal_compare(value.val.numeric, decimal_integer(10)) <= 0)
		return DatumGetNumericCopy(NumericGetDatum(value.val.numeric));
	problems_add(problems, above ? "%s must be a share of the quota above 0, such as 0.5" : "%s must be a rate from 0 to 10, such as 0.02", where);
	return decimal_zero();
}

/* What managers get: one rate for all levels, or one a level. */
static void
parse_override(RawPlan *raw, Problems *problems)
{
	RawOverride override = {.levels = 1};
	List	   *elements;
	ListCell   *cell;

	options_parse(raw->override, override_specs, lengthof(override_specs), &override, problems, "manager_override");
	if (!override.rate == !override.rates)
		problems_add(problems, "manager_override: one of \"rate\" and \"rates\" is needed");
	raw->plan.override_rate = override.rate;
	raw->plan.override_levels = override.levels;
	if (!override.rates)
		return;
	elements = jsonb_elements(override.rates);
	if (elements == NIL || list_length(elements) > 20 || override.levels > 1)
		problems_add(problems, "manager_override: \"rates\" are one to 20, one a level, and go without \"levels\"");
	raw->plan.override_levels = list_length(elements);
	raw->plan.override_rates = palloc0(sizeof(Numeric) * (list_length(elements) + 1));
	foreach(cell, elements)
		raw->plan.override_rates[foreach_current_index(cell)] =
			share_element(lfirst(cell), false, psprintf("manager_override.rates[%d]", foreach_current_index(cell)), problems);
	raw->plan.override_rate = raw->plan.override_rates[0];
}

/* The ramp: shares of the quota in a new rep's first periods. */
static void
parse_ramp(RawPlan *raw, Problems *problems)
{
	List	   *elements = jsonb_elements(raw->ramp);
	ListCell   *cell;

	raw->plan.ramp = palloc0(sizeof(Numeric) * Max(list_length(elements), 1));
	foreach(cell, elements)
		raw->plan.ramp[raw->plan.nramp++] =
			share_element(lfirst(cell), true, psprintf("ramp[%d]", foreach_current_index(cell)), problems);
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
	if (plan->unpaid_days >= 0 && plan->basis == BASIS_PAYMENT)
		problems_add(problems, "\"non_payment\" goes with another basis than \"payment\": what is not paid is not earned there");
	if (plan->unpaid_share && decimal_is_zero(plan->unpaid_share))
		problems_add(problems, "non_payment: \"share\" must be more than 0");
	if (plan->cap && plan->floor && decimal_compare(plan->floor, plan->cap) > 0)
		problems_add(problems, "\"floor\" %s is above \"cap\" %s", decimal_text(plan->floor), decimal_text(plan->cap));
	if (plan->deal_cap && plan->deal_floor && decimal_compare(plan->deal_floor, plan->deal_cap) > 0)
		problems_add(problems, "\"deal_floor\" %s is above \"deal_cap\" %s",
					 decimal_text(plan->deal_floor), decimal_text(plan->deal_cap));
}

/* The plan's own tiers or curve: one of the two. */
static void
parse_scale(RawPlan *raw, Problems *problems)
{
	if (!raw->tiers == !raw->curve)
		problems_add(problems, "definition: one of \"tiers\" and \"curve\" is needed");
	else if (raw->tiers)
		plan_parse_tiers(raw->tiers, "tiers", &raw->plan.tiers, problems);
	else
		parse_curve(raw->curve, raw->interpolate, "curve", &raw->plan.tiers, problems);
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
	plan->unpaid_days = -1;
	plan->draw_recoverable = true;
	plan->prorate = true;
	plan->draw_periods = -1;
	raw->interpolate = true;
	options_parse(definition, plan_specs, lengthof(plan_specs), raw, problems, "definition");
	if (!JB_ROOT_IS_OBJECT(definition))
		return plan;
	parse_scale(raw, problems);
	parse_components(raw, problems);
	parse_bonuses(raw, problems);
	parse_ramp(raw, problems);
	if (raw->draw)
		options_parse(raw->draw, draw_specs, lengthof(draw_specs), plan, problems, "draw");
	if (raw->gate)
		options_parse(raw->gate, gate_specs, lengthof(gate_specs), plan, problems, "gate");
	if (raw->non_payment)
		options_parse(raw->non_payment, non_payment_specs, lengthof(non_payment_specs), plan, problems, "non_payment");
	if (raw->override)
		parse_override(raw, problems);
	check_combinations(plan, problems);
	return plan;
}

/* ---- expressions -------------------------------------------------------------------------------------------------- */

/* Compile one expression over the credit's row; NULL stays NULL. */
static CompiledExpression *
compile_expression(const char *source, Oid type, const char *plan, const char *what, bool *mutable)
{
	RowExpression *expression;

	if (source == NULL)
		return NULL;
	/* the right to define it was checked when the plan was made */
	expression = expression_parse(source, contract_view("commission_credit"), type, EXPRESSION_ANY_ROLE,
								  psprintf("%s of commission plan \"%s\"", what, plan));
	*mutable |= contain_mutable_functions(expression->tree);
	return expression_compile(expression);
}

/* Compile all of a plan's expressions; see plan_pg.h. */
bool
plan_compile(PlanDefinition *plan, const char *name)
{
	bool		mutable = false;

	plan->amount_expression = compile_expression(plan->amount, NUMERICOID, name, "amount", &mutable);
	plan->paid_on_expression = compile_expression(plan->unpaid_paid_on, DATEOID, name, "non_payment.paid_on", &mutable);
	plan->filter = compile_expression(plan->where, BOOLOID, name, "where", &mutable);
	for (int i = 0; i < plan->ncomponents; i++)
		plan->components[i].filter = compile_expression(plan->components[i].where, BOOLOID, name, psprintf("rates[%d].where", i), &mutable);
	for (int i = 0; i < plan->nbonuses; i++)
		plan->bonuses[i].filter = compile_expression(plan->bonuses[i].where, BOOLOID, name, psprintf("bonuses[%d].where", i), &mutable);
	/* whether a payment is due depends on the day, not on a change of the credit */
	return mutable || plan->unpaid_days >= 0;
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

/* What a curve's slope is over, between a point and the next: in amount */
static Numeric
slope_distance(const PlanTier *point, Numeric unit)
{
	Numeric		distance = decimal_sub(point[1].from, point->from);

	return unit ? decimal_mul(distance, unit) : distance;
}

/* The least common multiple of a divisor and all that the curve's slopes are over; see plan_pg.h. */
Numeric
plan_curve_divisor(const PlanTierList *list, Numeric unit, Numeric divisor)
{
	if (!list->is_curve || !list->interpolated)
		return divisor;
	for (int i = 0; i + 1 < list->count; i++)
		divisor = decimal_common_multiple(divisor, slope_distance(&list->tiers[i], unit));
	return divisor;
}

/* The pieces of the first 'count' points of a curve: nothing below the first, the last holds from there on */
static void
curve_pieces(const PlanTierList *list, int count, Numeric unit, Numeric target, Numeric divisor, NumericTiers *result)
{
	Numeric		one = decimal_integer(1);
	NumericPiece *piece;

	target = target ? target : one;
	divisor = divisor ? divisor : one;

	result->pieces = palloc0(sizeof(NumericPiece) * (count * 2 + 2));
	result->pieces[0].from = result->pieces[0].base = result->pieces[0].rate = decimal_zero();
	result->count = decimal_is_zero(list->tiers[0].from) ? 0 : 1;
	for (int i = 0; i < count; i++)
	{
		const PlanTier *point = &list->tiers[i];

		piece = &result->pieces[result->count++];
		piece->from = unit ? decimal_mul(point->from, unit) : point->from;
		piece->base = decimal_mul(decimal_mul(point->rate, target), divisor);
		piece->rate = decimal_zero();
		/* the divisor is a multiple of the distance: their quotient is exact */
		if (list->interpolated && i + 1 < count)
			piece->rate = decimal_mul(decimal_mul(decimal_sub(point[1].rate, point->rate), target),
									  decimal_div(divisor, slope_distance(point, unit)));
	}
}

/* The pieces of the first 'count' tiers or points, without cliff and gate */
static void
plain_pieces(const PlanTierList *list, int count, PlanMethod method, Numeric unit, Numeric multiplier,
			 Numeric divisor, NumericTiers *result)
{
	Numeric		lumps = decimal_zero();

	if (list->is_curve)
	{
		curve_pieces(list, count, unit, multiplier, divisor, result);
		return;
	}
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
