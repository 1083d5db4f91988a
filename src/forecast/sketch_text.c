/*
 * sketch_text.c
 *		A forecast's state as text and back without loss, and the check that a state handed in is one of ours.
 *
 * The text is JSON, keys in a fixed order:
 *		{"version":1,"deals":3,"unknown":0,"certain":0,"common":0,"kept":[[amount,probability,count],…],
 *		 "rest":{"deals":0,"step":0,"cumulants":[…4],"knots":[[…4],…27],"prices":[[amount,deals,…4],…]}}
 * "rest" is there only when deals had to be summed up. A sum whose low part is not 0 is written [high,low]. Numbers are the shortest
 * that read back to the same bits.
 */
#include "forecast/sketch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Writer
{
	char	   *buffer;
	size_t		size;
	size_t		length;
} Writer;

typedef struct Reader
{
	const char *at;
	const char *problem;		/* first one, or NULL */
} Reader;

/* Append text as far as there is room; the length goes on counting. */
static void
put(Writer *writer, const char *text)
{
	size_t		length = strlen(text);

	if (writer->length + length < writer->size)
		memcpy(writer->buffer + writer->length, text, length + 1);
	writer->length += length;
}

/* Append a whole number. */
static void
put_integer(Writer *writer, const char *before, int64_t value)
{
	char		text[32];

	put(writer, before);
	snprintf(text, sizeof(text), "%lld", (long long) value);
	put(writer, text);
}

/* Append the shortest decimal that reads back to the same double. */
static void
put_double(Writer *writer, const char *before, double value)
{
	char		text[40];

	put(writer, before);
	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	put(writer, text);
}

/* Append a sum: a number, or its two parts. */
static void
put_sum(Writer *writer, const char *before, const ForecastSum *sum)
{
	put(writer, before);
	put_double(writer, sum->low != 0.0 ? "[" : "", sum->high);
	if (sum->low == 0.0)
		return;
	put_double(writer, ",", sum->low);
	put(writer, "]");
}

/* Append the amounts told apart. */
static void
put_prices(Writer *writer, const ForecastRest *rest)
{
	put(writer, ",\"prices\":[");
	for (int i = 0; i < FORECAST_PRICES && rest->price[i].deals > 0; i++)
	{
		put_double(writer, i > 0 ? ",[" : "[", rest->price[i].amount);
		put_integer(writer, ",", rest->price[i].deals);
		for (int j = 0; j < 4; j++)
			put_double(writer, ",", rest->price[i].power[j]);
		put(writer, "]");
	}
	put(writer, "]");
}

/* Append the sums over the deals not kept. */
static void
put_rest(Writer *writer, const ForecastRest *rest)
{
	put_integer(writer, ",\"rest\":{\"deals\":", rest->deals);
	put_integer(writer, ",\"step\":", rest->step);
	for (int j = 0; j < 4; j++)
		put_sum(writer, j == 0 ? ",\"cumulants\":[" : ",", &rest->cumulant[j]);
	put(writer, "],\"knots\":[");
	for (int k = 0; k < FORECAST_KNOTS; k++)
	{
		for (int j = 0; j < FORECAST_POWERS; j++)
			put_double(writer, j > 0 ? "," : k > 0 ? ",[" : "[", rest->knot[k][j]);
		put(writer, "]");
	}
	put(writer, "]");
	put_prices(writer, rest);
	put(writer, "}");
}

/* Write the text with its final NUL; returns its length, which needs a buffer of one more (call twice to size it). */
size_t
forecast_to_text(const ForecastState *state, char *buffer, size_t size)
{
	Writer		writer = {buffer, size, 0};

	put_integer(&writer, "{\"version\":", state->version);
	put_integer(&writer, ",\"deals\":", state->deals);
	put_integer(&writer, ",\"unknown\":", state->unknown);
	put_sum(&writer, ",\"certain\":", &state->certain);
	put_double(&writer, ",\"common\":", state->common);
	put(&writer, ",\"kept\":[");
	for (int i = 0; i < state->kept; i++)
	{
		put_double(&writer, i == 0 ? "[" : ",[", state->deal[i].amount);
		put_double(&writer, ",", state->deal[i].probability);
		put_integer(&writer, ",", state->deal[i].count);
		put(&writer, "]");
	}
	put(&writer, "]");
	if (state->has_rest && forecast_rest_const(state)->deals > 0)
		put_rest(&writer, forecast_rest_const(state));
	put(&writer, "}");
	return writer.length;
}

/* Skip blanks. */
static void
skip_blanks(Reader *reader)
{
	while (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\n' || *reader->at == '\r')
		reader->at++;
}

/* Does the given mark come next? Then step over it. */
static bool
accept(Reader *reader, const char *mark)
{
	size_t		length = strlen(mark);

	skip_blanks(reader);
	if (strncmp(reader->at, mark, length) != 0)
		return false;
	reader->at += length;
	return true;
}

/* The given mark must come next. */
static void
expect(Reader *reader, const char *mark, const char *problem)
{
	if (reader->problem == NULL && !accept(reader, mark))
		reader->problem = problem;
}

/* A key with its colon, a comma before it where it is not the first. */
static void
expect_key(Reader *reader, bool first, const char *key, const char *problem)
{
	if (!first)
		expect(reader, ",", problem);
	expect(reader, key, problem);
	expect(reader, ":", problem);
}

/* Is the character one of a plain decimal number? (strtod alone would take "nan" and "0x1p3".) */
static bool
number_character(char c)
{
	return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* A finite number. */
static double
read_double(Reader *reader)
{
	char	   *end;
	double		value;

	skip_blanks(reader);
	if (reader->problem != NULL)
		return 0.0;
	if (!number_character(*reader->at))
	{
		reader->problem = "a number is missing";
		return 0.0;
	}
	value = strtod(reader->at, &end);
	for (const char *c = reader->at; c < end; c++)
		if (!number_character(*c))
			end = (char *) reader->at;
	if (end == reader->at || !isfinite(value))
		reader->problem = "a number is malformed or out of range";
	reader->at = end;
	return value;
}

/* A whole number. */
static int64_t
read_integer(Reader *reader)
{
	double		value;
	char	   *end;
	long long	whole;

	skip_blanks(reader);
	whole = strtoll(reader->at, &end, 10);
	value = read_double(reader);
	if (reader->problem == NULL && (reader->at != end || fabs(value) > 9e18))
		reader->problem = "a whole number is malformed or out of range";
	return reader->problem == NULL ? whole : 0;
}

/* A sum: a number, or its two parts. */
static ForecastSum
read_sum(Reader *reader)
{
	ForecastSum sum = {0.0, 0.0};

	if (reader->problem == NULL && !accept(reader, "["))
		return (ForecastSum) {read_double(reader), 0.0};
	sum.high = read_double(reader);
	expect(reader, ",", "a sum is not a number or [high,low]");
	sum.low = read_double(reader);
	expect(reader, "]", "a sum is not a number or [high,low]");
	return sum;
}

/* The amounts told apart. */
static void
read_prices(Reader *reader, ForecastRest *rest)
{
	int			prices = 0;

	expect(reader, "[", "\"prices\" is not a list");
	if (reader->problem == NULL && accept(reader, "]"))
		return;
	while (reader->problem == NULL)
	{
		if (prices == FORECAST_PRICES)
		{
			reader->problem = "it has too many prices";
			return;
		}
		expect(reader, "[", "a price is not a list of 6");
		rest->price[prices].amount = read_double(reader);
		expect(reader, ",", "a price is not a list of 6");
		rest->price[prices].deals = read_integer(reader);
		for (int j = 0; j < 4; j++)
		{
			expect(reader, ",", "a price is not a list of 6");
			rest->price[prices].power[j] = read_double(reader);
		}
		expect(reader, "]", "a price is not a list of 6");
		prices++;
		if (!accept(reader, ","))
			break;
	}
	expect(reader, "]", "\"prices\" is not closed");
}

/* The list of kept deals. */
static void
read_kept(Reader *reader, ForecastState *state)
{
	expect(reader, "[", "\"kept\" is not a list");
	if (reader->problem == NULL && accept(reader, "]"))
		return;
	while (reader->problem == NULL)
	{
		ForecastDeal *deal = &state->deal[state->kept];

		if (state->kept == FORECAST_KEPT)
		{
			reader->problem = "\"kept\" has too many deals";
			return;
		}
		expect(reader, "[", "a kept deal is not [amount,probability,count]");
		deal->amount = read_double(reader);
		expect(reader, ",", "a kept deal is not [amount,probability,count]");
		deal->probability = read_double(reader);
		expect(reader, ",", "a kept deal is not [amount,probability,count]");
		deal->count = read_integer(reader);
		expect(reader, "]", "a kept deal is not [amount,probability,count]");
		state->kept++;
		if (!accept(reader, ","))
			break;
	}
	expect(reader, "]", "\"kept\" is not closed");
}

/* The sums over the deals not kept. */
static void
read_rest(Reader *reader, ForecastRest *rest)
{
	expect(reader, "{", "\"rest\" is not an object");
	expect_key(reader, true, "\"deals\"", "\"deals\" is missing in \"rest\"");
	rest->deals = read_integer(reader);
	expect_key(reader, false, "\"step\"", "\"step\" is missing in \"rest\"");
	rest->step = read_integer(reader);
	expect_key(reader, false, "\"cumulants\"", "\"cumulants\" is missing in \"rest\"");
	for (int j = 0; j < 4; j++)
	{
		expect(reader, j == 0 ? "[" : ",", "\"cumulants\" is not a list of 4");
		rest->cumulant[j] = read_sum(reader);
	}
	expect(reader, "]", "\"cumulants\" is not a list of 4");
	expect_key(reader, false, "\"knots\"", "\"knots\" is missing in \"rest\"");
	for (int k = 0; k < FORECAST_KNOTS && reader->problem == NULL; k++)
	{
		expect(reader, k == 0 ? "[" : ",", "\"knots\" is not a list of 27");
		for (int j = 0; j < FORECAST_POWERS; j++)
		{
			expect(reader, j == 0 ? "[" : ",", "a knot is not a list of 4");
			rest->knot[k][j] = read_double(reader);
		}
		expect(reader, "]", "a knot is not a list of 4");
	}
	expect(reader, "]", "\"knots\" is not a list of 27");
	expect_key(reader, false, "\"prices\"", "\"prices\" is missing in \"rest\"");
	read_prices(reader, rest);
	expect(reader, "}", "\"rest\" is not closed");
}

/*
 * Read a text into a state with room for everything (forecast_size(FORECAST_KEPT, true) bytes). Returns what is wrong,
 * or NULL. The state has the full shape; forecast_copy makes it small.
 */
const char *
forecast_from_text(const char *text, ForecastState *state)
{
	Reader		reader = {text, NULL};

	forecast_init(state, FORECAST_KEPT, true);
	expect(&reader, "{", "it does not begin with \"{\"");
	expect_key(&reader, true, "\"version\"", "\"version\" is missing");
	if (read_integer(&reader) != FORECAST_VERSION && reader.problem == NULL)
		return "its version is not known to this release";
	expect_key(&reader, false, "\"deals\"", "\"deals\" is missing");
	state->deals = read_integer(&reader);
	expect_key(&reader, false, "\"unknown\"", "\"unknown\" is missing");
	state->unknown = read_integer(&reader);
	expect_key(&reader, false, "\"certain\"", "\"certain\" is missing");
	state->certain = read_sum(&reader);
	expect_key(&reader, false, "\"common\"", "\"common\" is missing");
	state->common = read_double(&reader);
	expect_key(&reader, false, "\"kept\"", "\"kept\" is missing");
	read_kept(&reader, state);
	if (reader.problem == NULL && accept(&reader, ","))
	{
		expect(&reader, "\"rest\"", "an unknown key follows \"kept\"");
		expect(&reader, ":", "\"rest\" has no value");
		read_rest(&reader, forecast_rest(state));
	}
	expect(&reader, "}", "it is not closed");
	skip_blanks(&reader);
	if (reader.problem == NULL && *reader.at != '\0')
		reader.problem = "something follows its end";
	return reader.problem != NULL ? reader.problem : forecast_problem(state);
}

/* What is wrong with the kept deals, or NULL; adds up their counts. */
static const char *
kept_problem(const ForecastState *state, int64_t *count)
{
	double		variance_before = INFINITY;

	for (int i = 0; i < state->kept; i++)
	{
		const ForecastDeal *d = &state->deal[i];
		double		variance = d->probability * (1.0 - d->probability) * (d->amount * d->amount);

		if (!isfinite(d->amount) || fabs(d->amount) > FORECAST_MAX_AMOUNT)
			return "an amount is out of range";
		if (!(d->probability > 0.0 && d->probability < 1.0) || !(variance > 0.0))
			return "a kept deal has no variance";
		if (d->count < 1 || d->count > INT64_MAX / 2 - *count)
			return "a count is out of range";
		if (variance > variance_before ||
			(i > 0 && variance == variance_before &&
			 (d->amount > d[-1].amount || (d->amount == d[-1].amount && d->probability >= d[-1].probability))))
			return "the kept deals are out of order";
		variance_before = variance;
		*count += d->count;
	}
	return NULL;
}

/* Is a sum finite? */
static bool
sum_is_sound(const ForecastSum *sum)
{
	return isfinite(sum->high) && isfinite(sum->low) && isfinite(sum->high + sum->low);
}

/* What is wrong with the amounts told apart, or NULL. */
static const char *
prices_problem(const ForecastRest *rest)
{
	int64_t		left = rest->deals;
	bool		over = false;

	for (int i = 0; i < FORECAST_PRICES; i++)
	{
		const ForecastPrice *price = &rest->price[i];
		double		n = (double) price->deals * (1.0 + 1e-9);

		over |= price->deals == 0;
		if (price->deals < 0 || price->deals > left || (over && price->deals != 0))
			return "the deals of a price are out of range";
		left -= price->deals;
		if (!isfinite(price->amount) || fabs(price->amount) > FORECAST_MAX_AMOUNT || (price->deals > 0 && price->amount == 0.0))
			return "a price is out of range";
		if (i > 0 && price->deals > 0 && (fabs(price->amount) > fabs(price[-1].amount) ||
										  (fabs(price->amount) == fabs(price[-1].amount) && price->amount >= price[-1].amount)))
			return "the prices are out of order";
		for (int j = 0; j < 4; j++)
			if (!(price->power[j] >= 0.0 && price->power[j] <= (j == 0 ? n : price->power[j - 1] * (1.0 + 1e-9))))
				return "the chances of a price are out of range";
	}
	return NULL;
}

/* What a sum of so many deals' amounts to a power can be, at most. */
static double
largest_sum(const ForecastRest *rest, int power)
{
	return (double) rest->deals * pow(FORECAST_MAX_AMOUNT, power + 1) * (1.0 + 1e-9);
}

/* What is wrong with the sums over deals not kept, or NULL. */
static const char *
rest_problem(const ForecastRest *rest)
{
	if (rest->deals < 0 || rest->deals > INT64_MAX / 2)
		return "a count is out of range";
	if (rest->step < FORECAST_NO_STEP || (rest->deals > 0 && rest->step == 0))
		return "the step is out of range";
	for (int j = 0; j < 4; j++)
		if (!sum_is_sound(&rest->cumulant[j]) || !(fabs(forecast_sum(&rest->cumulant[j])) <= largest_sum(rest, j)))
			return "a cumulant is out of range";
	if (forecast_sum(&rest->cumulant[1]) < 0.0)
		return "the variance is negative";
	for (int k = 0; k < FORECAST_KNOTS; k++)
		for (int j = 0; j < FORECAST_POWERS; j++)
			if (!(fabs(rest->knot[k][j]) <= largest_sum(rest, j)) || (j % 2 == 1 && rest->knot[k][j] < 0.0))
				return "a knot is out of range";
	return prices_problem(rest);
}

/*
 * What is wrong with a state from outside, or NULL. The shape (version, capacity, has_rest against the bytes there are)
 * is the caller's to check first.
 */
const char *
forecast_problem(const ForecastState *state)
{
	const ForecastRest *rest = forecast_rest_const(state);
	const char *problem;
	int64_t		count = 0;

	if (state->deals < 0 || state->unknown < 0 || state->deals > INT64_MAX / 2 || state->unknown > INT64_MAX / 2)
		return "a count is out of range";
	if (!sum_is_sound(&state->certain) || !isfinite(state->common) || state->common < 0.0)
		return "a sum is out of range";
	if (state->kept > state->capacity || state->capacity > FORECAST_KEPT)
		return "it has too many kept deals";
	problem = kept_problem(state, &count);
	if (problem == NULL && rest != NULL)
	{
		problem = rest_problem(rest);
		count += rest->deals;
	}
	if (problem == NULL && count > state->deals)
		problem = "it has more deals than it says";
	return problem;
}
