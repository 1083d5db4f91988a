/*
 * sketch.c
 *		Adding deals to a forecast's state and merging states (sketch.h says what is kept).
 *
 * A row costs a comparison with the least pair kept and, mostly, a dozen multiplications. Nothing here allocates: where
 * the state must grow, forecast_add and forecast_merge say so and the caller copies it into a larger one.
 */
#include "forecast/sketch.h"

#include <math.h>
#include <string.h>

/*
 * Knots of probability, .33 apart on the probit scale from -4.29 to 4.29 (values of the normal distribution function).
 * Between knots a deal is shared linearly, which keeps its mean under every common factor.
 */
const double forecast_knots[FORECAST_KNOTS] = {
	8.93365591281281e-06, 3.747488169109081e-05, 0.00014171060987583362,
	0.0004834241423837815, 0.0014889987452374465, 0.0041453013610360245,
	0.010444077061951107, 0.02385176434150854, 0.0494714680336481,
	0.09341750899347184, 0.16108705951083097, 0.25462691467133625,
	0.37069998105934643, 0.5, 0.6293000189406536,
	0.7453730853286639, 0.8389129404891691, 0.9065824910065282,
	0.9505285319663519, 0.9761482356584915, 0.989555922938049,
	0.995854698638964, 0.9985110012547626, 0.9995165758576162,
	0.9998582893901242, 0.9999625251183089, 0.9999910663440872
};

/* Bytes of a state that holds so many deals. */
size_t
forecast_size(int capacity, bool has_rest)
{
	return offsetof(ForecastState, deal) + sizeof(ForecastDeal) * (size_t) capacity + (has_rest ? sizeof(ForecastRest) : 0);
}

/* Bytes of this state, spare room included. */
size_t
forecast_state_size(const ForecastState *state)
{
	return forecast_size(state->capacity, state->has_rest != 0);
}

/* An empty state; the length word is left alone. */
void
forecast_init(ForecastState *state, int capacity, bool has_rest)
{
	int32_t		length_word = state->length_word;

	memset(state, 0, forecast_size(capacity, has_rest));
	state->length_word = length_word;
	state->version = FORECAST_VERSION;
	state->capacity = (uint16_t) capacity;
	state->has_rest = has_rest;
}

/* The sums over deals not kept, or NULL where there is no room for them yet. */
ForecastRest *
forecast_rest(ForecastState *state)
{
	return state->has_rest ? (ForecastRest *) (state->deal + state->capacity) : NULL;
}

/* The same for a state that is only read. */
const ForecastRest *
forecast_rest_const(const ForecastState *state)
{
	return state->has_rest ? (const ForecastRest *) (state->deal + state->capacity) : NULL;
}

/* Add to a sum; what rounding loses goes to the low part (Knuth's two-sum). */
static inline void
sum_add(ForecastSum *sum, double term)
{
	double		high = sum->high + term;
	double		back = high - sum->high;

	sum->low += (sum->high - (high - back)) + (term - back);
	sum->high = high;
}

/* The same for callers elsewhere. */
void
forecast_sum_add(ForecastSum *sum, double term)
{
	sum_add(sum, term);
}

/* Add so many times a term. */
static inline void
sum_add_times(ForecastSum *sum, double n, double term)
{
	double		product = n * term;

	sum_add(sum, product);
	if (n != 1.0)
		sum->low += fma(n, term, -product);
}

/* Add one sum to another. */
static void
sum_merge(ForecastSum *target, const ForecastSum *source)
{
	sum_add(target, source->high);
	target->low += source->low;
}

/* Its value. */
double
forecast_sum(const ForecastSum *sum)
{
	return sum->high + sum->low;
}

/* Add money that is certain and no deal. */
void
forecast_add_certain(ForecastState *state, double amount)
{
	forecast_sum_add(&state->certain, amount);
}

/* An amount in whole cents, or 0 where it is not in whole cents (or too large for it to matter). */
int64_t
forecast_cents(double amount)
{
	double		cents = fabs(amount) * 100.0;
	int64_t		whole;

	if (cents > 9e15)
		return 0;
	whole = (int64_t) (cents + 0.5);
	return fabs(cents - (double) whole) > 1e-9 + 4e-15 * cents ? 0 : whole;
}

/* Greatest common divisor; 0 is neutral. */
int64_t
forecast_gcd(int64_t a, int64_t b)
{
	while (b != 0)
	{
		int64_t		r = a % b;

		a = b;
		b = r;
	}
	return a;
}

/* Order of the kept deals: negative where x comes first. */
static inline int
compare_deals(double vx, double ax, double px, double vy, double ay, double py)
{
	if (vx != vy)
		return vx > vy ? -1 : 1;
	if (ax != ay)
		return ax > ay ? -1 : 1;
	if (px != py)
		return px > py ? -1 : 1;
	return 0;
}

/* The one formula for a deal's variance: equal inputs must give equal bits everywhere. */
static inline double
deal_variance(double amount, double probability)
{
	return probability * (1.0 - probability) * (amount * amount);
}

/* Last knot not above p, or -1 where p lies below the first. */
static inline int
knot_below(double p)
{
	int			count = 0;

	/* without a branch to mispredict: probabilities come in no order */
	for (int step = 16; step > 0; step /= 2)
	{
		int			at = count + step - 1;

		count += step & -(int) (forecast_knots[at < FORECAST_KNOTS ? at : FORECAST_KNOTS - 1] <= p && at < FORECAST_KNOTS);
	}
	return count - 1;
}

/* Share a deal's power sums between the knots around its probability; 0 and 1 are knots that need no storage. */
static inline void
add_to_knots(ForecastRest *rest, double a, double p, double n)
{
	int			below = knot_below(p);
	double		left = below < 0 ? 0.0 : forecast_knots[below];
	double		right = below + 1 >= FORECAST_KNOTS ? 1.0 : forecast_knots[below + 1];
	double		share = (p - left) / (right - left);
	double		powers[FORECAST_POWERS] = {n * a, n * a * a, n * a * a * a, n * a * a * a * a};

	for (int j = 0; j < FORECAST_POWERS; j++)
	{
		if (below >= 0)
			rest->knot[below][j] += (1.0 - share) * powers[j];
		if (below + 1 < FORECAST_KNOTS)
			rest->knot[below + 1][j] += share * powers[j];
	}
}

/* Does amount a come before b among the prices: larger either way, positive before negative? */
static inline bool
price_before(double a, double b)
{
	return fabs(a) != fabs(b) ? fabs(a) > fabs(b) : a > b;
}

/* The price of an amount: found, made, or NULL where it is smaller than all that are told apart. */
static ForecastPrice *
find_price(ForecastRest *rest, double amount)
{
	ForecastPrice *price = rest->price;
	int			at = 0;

	while (at < FORECAST_PRICES && price[at].deals > 0 && price_before(price[at].amount, amount))
		at++;
	if (at == FORECAST_PRICES)
		return NULL;
	if (price[at].deals == 0 || price[at].amount != amount)
	{
		memmove(&price[at + 1], &price[at], sizeof(ForecastPrice) * (size_t) (FORECAST_PRICES - 1 - at));
		memset(&price[at], 0, sizeof(ForecastPrice));
		price[at].amount = amount;
	}
	return &price[at];
}

/* Count a deal at its price. */
static inline void
add_to_prices(ForecastRest *rest, double a, double p, int64_t count)
{
	const ForecastPrice *last = &rest->price[FORECAST_PRICES - 1];
	ForecastPrice *price;
	double		n = (double) count;

	if (last->deals > 0 && price_before(last->amount, a))
		return;
	price = find_price(rest, a);
	price->deals += count;
	price->power[0] += n * p;
	price->power[1] += n * (p * p);
	price->power[2] += n * (p * p * p);
	price->power[3] += n * ((p * p) * (p * p));
}

/* Merge the prices: those of the source that are large enough. */
static void
merge_prices(ForecastRest *target, const ForecastRest *source)
{
	for (int i = 0; i < FORECAST_PRICES && source->price[i].deals > 0; i++)
	{
		ForecastPrice *price = find_price(target, source->price[i].amount);

		if (price == NULL)
			break;
		price->deals += source->price[i].deals;
		for (int j = 0; j < 4; j++)
			price->power[j] += source->price[i].power[j];
	}
}

/* Add a deal to the sums. */
static inline void
add_to_rest(ForecastRest *rest, double a, double p, int64_t count)
{
	double		n = (double) count;
	double		q = 1.0 - p;
	double		v = p * q;
	double		a2 = a * a;

	rest->deals += count;
	sum_add_times(&rest->cumulant[0], n, p * a);
	sum_add_times(&rest->cumulant[1], n, v * a2);
	rest->cumulant[2].high += n * (v * (q - p) * a2 * a);
	rest->cumulant[3].high += n * (v * (1.0 - 6.0 * v) * a2 * a2);
	add_to_prices(rest, a, p, count);
	if (rest->step != 1 && rest->step != FORECAST_NO_STEP)
	{
		int64_t		cents = forecast_cents(a);

		rest->step = cents == 0 ? FORECAST_NO_STEP : forecast_gcd(cents, rest->step);
	}
	else if (rest->step == 1 && forecast_cents(a) == 0)
		rest->step = FORECAST_NO_STEP;
	add_to_knots(rest, a, p, n);
}

/* Position where a pair stands or belongs; *found says which. */
static int
find_deal(const ForecastState *state, double v, double a, double p, bool *found)
{
	int			low = 0;
	int			high = state->kept;

	*found = false;
	while (low < high)
	{
		int			middle = (low + high) / 2;
		const ForecastDeal *d = &state->deal[middle];
		int			order = compare_deals(deal_variance(d->amount, d->probability), d->amount, d->probability, v, a, p);

		if (order == 0)
		{
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Does the pair come after all that are kept? Then a full state sums it up. */
static inline bool
beyond_kept(const ForecastState *state, double v, double a, double p)
{
	const ForecastDeal *last = &state->deal[FORECAST_KEPT - 1];

	return compare_deals(deal_variance(last->amount, last->probability), last->amount, last->probability, v, a, p) < 0;
}

/*
 * Put a pair with positive variance where it belongs. False, with nothing changed, where there is no room.
 */
static bool
place_deal(ForecastState *state, double a, double p, int64_t count)
{
	double		v = deal_variance(a, p);
	bool		full = state->kept == FORECAST_KEPT;
	bool		found;
	int			at;

	if (full && state->has_rest && beyond_kept(state, v, a, p))
	{
		add_to_rest(forecast_rest(state), a, p, count);
		return true;
	}
	at = find_deal(state, v, a, p, &found);
	if (found)
	{
		state->deal[at].count += count;
		return true;
	}
	if (full ? !state->has_rest : state->kept == state->capacity)
		return false;
	if (full)
	{
		const ForecastDeal *last = &state->deal[FORECAST_KEPT - 1];

		add_to_rest(forecast_rest(state), last->amount, last->probability, last->count);
		state->kept--;
	}
	memmove(&state->deal[at + 1], &state->deal[at], sizeof(ForecastDeal) * (size_t) (state->kept - at));
	state->deal[at] = (ForecastDeal) {a, p, count};
	state->kept++;
	return true;
}

/*
 * Add 'count' equal deals: finite amount within FORECAST_MAX_AMOUNT, probability in [0, 1], count >= 0 (the caller
 * checks). False, with nothing changed, where the state must grow first: forecast_grown_shape, forecast_copy, try again.
 */
bool
forecast_add(ForecastState *state, double amount, double probability, int64_t count)
{
	if (deal_variance(amount, probability) > 0.0)
	{
		if (!place_deal(state, amount, probability, count))
			return false;
	}
	else
		sum_add_times(&state->certain, (double) count, amount * probability);
	state->deals += count;
	return true;
}

/* The next larger shape. */
void
forecast_grown_shape(const ForecastState *state, int *capacity, bool *has_rest)
{
	if (state->capacity >= FORECAST_KEPT)
	{
		*capacity = FORECAST_KEPT;
		*has_rest = true;
		return;
	}
	*capacity = state->capacity < 4 ? 4 : state->capacity * 2;
	if (*capacity > FORECAST_KEPT)
		*capacity = FORECAST_KEPT;
	*has_rest = false;
}

/* A shape that surely holds the union of two states. */
void
forecast_merged_shape(const ForecastState *a, const ForecastState *b, int *capacity, bool *has_rest)
{
	*capacity = a->kept + b->kept;
	*has_rest = a->has_rest || b->has_rest || *capacity > FORECAST_KEPT;
	if (*has_rest || *capacity > FORECAST_KEPT)
		*capacity = FORECAST_KEPT;
	if (*capacity < a->capacity)
		*capacity = a->capacity;
}

/* Copy a state into one of the given shape, at least as large. */
void
forecast_copy(ForecastState *target, int capacity, bool has_rest, const ForecastState *source)
{
	forecast_init(target, capacity, has_rest);
	target->kept = source->kept;
	target->deals = source->deals;
	target->unknown = source->unknown;
	target->certain = source->certain;
	target->common = source->common;
	memcpy(target->deal, source->deal, sizeof(ForecastDeal) * source->kept);
	if (source->has_rest)
		*forecast_rest(target) = *forecast_rest_const(source);
}

/* Add the sums of one state to those of another. */
static void
merge_rest(ForecastRest *target, const ForecastRest *source)
{
	if (source->deals == 0)
		return;
	target->deals += source->deals;
	if (target->step == FORECAST_NO_STEP || source->step == FORECAST_NO_STEP)
		target->step = FORECAST_NO_STEP;
	else
		target->step = forecast_gcd(target->step, source->step);
	for (int j = 0; j < 2; j++)
		sum_merge(&target->cumulant[j], &source->cumulant[j]);
	for (int j = 2; j < 4; j++)
		target->cumulant[j].high += source->cumulant[j].high;
	for (int k = 0; k < FORECAST_KNOTS; k++)
		for (int j = 0; j < FORECAST_POWERS; j++)
			target->knot[k][j] += source->knot[k][j];
	merge_prices(target, source);
}

/* Merge source into target. False, with nothing changed, where target's shape is smaller than forecast_merged_shape. */
bool
forecast_merge(ForecastState *target, const ForecastState *source)
{
	int			capacity;
	bool		has_rest;

	forecast_merged_shape(target, source, &capacity, &has_rest);
	if (target->capacity < capacity || (has_rest && !target->has_rest))
		return false;
	for (int i = 0; i < source->kept; i++)
		place_deal(target, source->deal[i].amount, source->deal[i].probability, source->deal[i].count);
	if (source->has_rest)
		merge_rest(forecast_rest(target), forecast_rest_const(source));
	target->deals += source->deals;
	target->unknown += source->unknown;
	sum_merge(&target->certain, &source->certain);
	target->common += source->common;
	return true;
}

/* Expected sum of the deals that are not certain. */
double
forecast_uncertain_mean(const ForecastState *state)
{
	const ForecastRest *rest = forecast_rest_const(state);
	ForecastSum mean = rest ? rest->cumulant[0] : (ForecastSum) {0.0, 0.0};

	for (int i = state->kept - 1; i >= 0; i--)
		sum_add_times(&mean, (double) state->deal[i].count, state->deal[i].amount * state->deal[i].probability);
	return forecast_sum(&mean);
}

/* Expected sum. */
double
forecast_mean(const ForecastState *state)
{
	return forecast_sum(&state->certain) + forecast_uncertain_mean(state);
}

/*
 * The common deviation as a share of the uncertain part's mean, to forty binary digits: whatever the order that common deviations were
 * added up in.
 */
double
forecast_relative_deviation(const ForecastState *state)
{
	double		mean = fabs(forecast_uncertain_mean(state));
	double		share = mean > 0.0 ? state->common / mean : 0.0;

	return share < 4096.0 ? floor(ldexp(share, 40) + 0.5) * ldexp(1.0, -40) : share;
}

/*
 * Log deviation of the common factor. Capped at 2, where a lognormal factor ranges over a factor of 50 either way and says "unknown" well
 * enough.
 */
double
forecast_common_sigma(const ForecastState *state)
{
	double		share = forecast_relative_deviation(state);

	return share >= 7.3 ? 2.0 : sqrt(log1p(share * share));
}

/* Variance of the sum: that of independent deals, scaled and widened by the common factor (mean 1) where there is one. */
double
forecast_variance(const ForecastState *state)
{
	const ForecastRest *rest = forecast_rest_const(state);
	double		variance = rest ? forecast_sum(&rest->cumulant[1]) : 0.0;
	double		sigma = forecast_common_sigma(state);

	for (int i = state->kept - 1; i >= 0; i--)
		variance += (double) state->deal[i].count * deal_variance(state->deal[i].amount, state->deal[i].probability);
	if (sigma > 0.0)
	{
		double		mean = forecast_uncertain_mean(state);

		variance = variance * exp(sigma * sigma) + mean * mean * expm1(sigma * sigma);
	}
	return variance;
}
